//! Limits that the host sets to a process, in words, with their remedies. A part that meets one is not at fault.

use std::error::Error;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The limit behind an error of the system; `None` for an error of another kind. Threads have [`thread_limit`]: their error means
/// something else for a socket.
pub fn host_limit(error: &io::Error) -> Option<String> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(format!(
            "the process may have {} files and sockets open (RLIMIT_NOFILE); raise it: `ulimit -n`, LimitNOFILE= of \
             the systemd unit, --ulimit nofile= of the container",
            shown(Resource::Nofile)
        )),
        Errno::NFILE => Some("the machine has no free file handle; raise the sysctl fs.file-max".to_owned()),
        Errno::NOMEM => Some(memory_limit()),
        _ => None,
    }
}

/// The limit behind any cause of an error.
pub(crate) fn limit_among(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(limit) = error.downcast_ref::<io::Error>().and_then(host_limit) {
            return Some(limit);
        }
        cause = error.source();
    }
    None
}

/// A thread could not be started.
pub fn thread_limit(error: &io::Error) -> String {
    let processes = shown(Resource::Nproc);
    let addresses = match getrlimit(Resource::As).current {
        Some(bytes) => format!(", or of {} MiB of addresses (RLIMIT_AS, `ulimit -v`)", bytes >> 20),
        None => String::new(),
    };
    format!(
        "the host starts no further thread ({error}); raise the limit of {processes} processes and threads \
         (RLIMIT_NPROC, `ulimit -u`), TasksMax= of the systemd unit or --pids-limit of the container{addresses}"
    )
}

fn memory_limit() -> String {
    for (resource, name, what, option, unit) in [
        (Resource::As, "RLIMIT_AS", "of addresses", "-v", "LimitAS"),
        (Resource::Data, "RLIMIT_DATA", "of data", "-d", "LimitDATA"),
    ] {
        if let Some(bytes) = getrlimit(resource).current {
            return format!(
                "the process may use {} MiB {what} ({name}); remove this limit: `ulimit {option} unlimited`, \
                 {unit}=infinity of the systemd unit",
                bytes >> 20
            );
        }
    }
    "the machine grants no more memory; look at its free memory and the sysctls vm.overcommit_memory and \
     vm.max_map_count"
        .to_owned()
}

fn shown(resource: Resource) -> String {
    getrlimit(resource).current.map_or("unlimited".to_owned(), |value| value.to_string())
}

/// Files that the async runtime opens for itself, with some to spare.
const RUNTIME_FILES: usize = 16;

/// Opens the files and starts the threads of a process at once and ends them: the async runtime and the compiler panic where one
/// cannot be had.
///
/// # Errors
/// The limit, with its remedy.
pub fn check_host() -> Result<(), String> {
    check_files(RUNTIME_FILES)?;
    check_threads(threads_needed())
}

fn check_files(count: usize) -> Result<(), String> {
    let opened: io::Result<Vec<File>> = (0..count).map(|_| File::open("/dev/null")).collect();
    let told = |error: io::Error| {
        host_limit(&error).unwrap_or_else(|| format!("/dev/null cannot be opened: {error}"))
    };
    opened.map(drop).map_err(told)
}

fn check_threads(count: usize) -> Result<(), String> {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
    let (mut started, mut refused) = (Vec::with_capacity(count), None);
    for _ in 0..count {
        let gate = Arc::clone(&gate);
        match thread::Builder::new().name("probe".to_owned()).spawn(move || drop(gate.read())) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                refused = Some(thread_limit(&error));
                break;
            }
        }
    }
    drop(closed);
    for thread in started {
        // It has nothing that panics.
        let _ = thread.join();
    }
    refused.map_or(Ok(()), Err)
}

/// Starts a thread; an error names the limit with its remedy.
pub fn start_thread<T: Send + 'static>(
    builder: thread::Builder,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    builder.spawn(body).map_err(|error| io::Error::new(error.kind(), thread_limit(&error)))
}

/// Threads that a process starts by itself: workers of the runtime and of the compiler, and some for blocking calls.
fn threads_needed() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from) + 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_a_limit_causes_names_one() {
        let limit = |errno: Errno| host_limit(&io::Error::from(errno));
        assert!(limit(Errno::NOMEM).is_some() && limit(Errno::NFILE).is_some());
        assert_eq!(limit(Errno::AGAIN), None, "a socket that is not ready");
        assert_eq!(limit(Errno::CONNREFUSED), None);
    }

    #[test]
    fn as_many_threads_as_a_process_needs_start() {
        assert_eq!(check_threads(threads_needed()), Ok(()));
    }
}
