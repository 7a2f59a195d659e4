/* Preloaded into an edge: notes how much of each file was synced, so that a power cut can take the rest, and when each sync began (length -1)
   and ended, in milliseconds since 1970. With SYNC_DELAY_FILE each sync takes as many milliseconds longer as that file says: a slow disk. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for_disk(void) {
    const char *path = getenv("SYNC_DELAY_FILE");
    FILE *file = path ? fopen(path, "re") : NULL;
    unsigned delay_ms = 0;
    if (file) {
        if (fscanf(file, "%u", &delay_ms) == 1 && delay_ms > 0)
            usleep(delay_ms * 1000);
        fclose(file);
    }
}

static void note(int descriptor, long long length) {
    const char *log = getenv("SYNC_LOG");
    char name[64], path[4096], line[4200];
    if (!log)
        return;
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t bytes = readlink(name, path, sizeof path - 1);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (bytes > 0 && out >= 0) {
        path[bytes] = 0;
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        long long at_ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
        int size = snprintf(line, sizeof line, "%lld %lld %s\n", length, at_ms, path);
        if (write(out, line, size) != size)
            abort();
    }
    if (out >= 0)
        close(out);
}

static int synced(int descriptor, long number) {
    struct stat before;
    int is_known = fstat(descriptor, &before) == 0;
    note(descriptor, -1);
    wait_for_disk();
    int result = syscall(number, descriptor);
    if (result == 0 && is_known)
        note(descriptor, (long long)before.st_size);
    return result;
}

int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }

int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }
