//! Resources that the host denies to every adapter. Such an error is no fault of an adapter or a frame.

use std::io;

use marketprism_service::{host_limit, thread_limit};
use rustix::io::Errno;
use thiserror::Error;
use wasmtime::error::OutOfMemory;

/// A resource that the host denies, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct HostLimit(String);

const NO_FAULT: &str = "limit of this host, no fault of the adapter";

impl HostLimit {
    /// `None` if the host is not the cause.
    pub(crate) fn of(error: &wasmtime::Error) -> Option<Self> {
        if error.is::<OutOfMemory>() {
            return Some(Self::new(error, &said(Errno::NOMEM)));
        }
        let errno = error.chain().find_map(|cause| {
            let io = || cause.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
            cause.downcast_ref::<Errno>().copied().or_else(io)
        })?;
        let limit = match errno {
            // Nothing else that the runtime asks for is refused with these: it opens no file here.
            Errno::ACCESS | Errno::PERM => EXECUTABLE.to_owned(),
            Errno::NOMEM => format!("{}; {RESERVED}", said(errno)),
            _ => host_limit(&errno.into())?,
        };
        Some(Self::new(error, &limit))
    }

    pub(crate) fn of_thread(error: &io::Error) -> Self {
        Self::of_threads(&thread_limit(error))
    }

    pub(crate) fn of_threads(limit: &str) -> Self {
        Self(format!("{NO_FAULT}: {limit}"))
    }

    /// From the text of a fault that is none.
    pub(crate) const fn of_fault(detail: String) -> Self {
        Self(detail)
    }

    fn new(error: &wasmtime::Error, limit: &str) -> Self {
        let error = format!("{error:#}").replace(['\n', '\r'], " ");
        Self(format!("{NO_FAULT}: {error}: {limit}"))
    }
}

const EXECUTABLE: &str = "memory may not become executable here, but adapters are compiled to machine code; remove \
                          MemoryDenyWriteExecute= from the systemd unit, or the rule of seccomp or SELinux (execmem)";

const RESERVED: &str = "every adapter instance reserves 4 GiB of addresses, which take no memory";

fn said(errno: Errno) -> String {
    host_limit(&errno.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_the_system_are_limits_of_the_host() {
        let of = |error: wasmtime::Error| HostLimit::of(&error).map(|limit| limit.to_string());
        let refused = wasmtime::Error::from(Errno::ACCESS).context("failed to make memory executable");
        let text = of(refused).unwrap();
        assert!(text.contains("failed to make memory executable: Permission denied"), "{text}");
        assert!(text.contains("MemoryDenyWriteExecute="), "{text}");
        let full = wasmtime::Error::from(Errno::NOMEM).context("mmap failed to reserve 0x1 bytes");
        assert!(of(full).unwrap().contains("reserves 4 GiB of addresses"));
        assert_eq!(of(wasmtime::Error::msg("unknown import")), None);
        assert_eq!(of(wasmtime::Trap::UnreachableCodeReached.into()), None);
    }
}
