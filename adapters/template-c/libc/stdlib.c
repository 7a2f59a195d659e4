/* Memory: blocks one behind the other. A call of the edge allocates its arguments, its temporaries and its results, and frees them all
 * before the next one; so memory is taken back as a whole when as many blocks live as `keep_allocated` counted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 8, PAGE = 65536, SIZE_MOST = 1 << 30 };

/* Stands before every block; as long as the alignment. */
typedef struct {
    size_t size;
    size_t unused;
} header_t;

_Static_assert(sizeof(header_t) % ALIGNMENT == 0, "blocks behind a header are aligned");

/* The linker puts it behind stack and data. */
extern unsigned char __heap_base;

static uintptr_t top, limit, mark;
static size_t live, kept;

static uintptr_t aligned(uintptr_t address) {
    return (address + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
}

static int reserve(size_t size) {
    if (top == 0) {
        top = mark = aligned((uintptr_t)&__heap_base);
        limit = __builtin_wasm_memory_size(0) * PAGE;
    }
    if (size <= limit - top) {
        return 1;
    }
    size_t pages = (size - (limit - top) + PAGE - 1) / PAGE;
    if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX) {
        return 0;
    }
    limit += pages * PAGE;
    return 1;
}

static header_t *header_of(void *block) {
    return (header_t *)block - 1;
}

static int is_last(void *block) {
    return (uintptr_t)block + header_of(block)->size == top;
}

void *malloc(size_t size) {
    if (size > SIZE_MOST) {
        return NULL;
    }
    size = aligned(size);
    if (!reserve(size + sizeof(header_t))) {
        return NULL;
    }
    header_t *header = (header_t *)top;
    header->size = size;
    top += size + sizeof(header_t);
    live++;
    return header + 1;
}

void free(void *block) {
    if (block == NULL) {
        return;
    }
    live--;
    if (live == kept) {
        top = mark;
    } else if (is_last(block)) {
        top = (uintptr_t)header_of(block);
    }
}

void *realloc(void *block, size_t size) {
    if (block == NULL) {
        return malloc(size);
    }
    header_t *header = header_of(block);
    if (size <= header->size) {
        return block;
    }
    if (is_last(block) && size <= SIZE_MOST) {
        size = aligned(size);
        if (!reserve(size - header->size)) {
            return NULL;
        }
        top += size - header->size;
        header->size = size;
        return block;
    }
    void *larger = malloc(size);
    if (larger != NULL) {
        memcpy(larger, block, header->size);
        free(block);
    }
    return larger;
}

void keep_allocated(void) {
    mark = top;
    kept = live;
}

_Noreturn void abort(void) {
    __builtin_trap();
}
