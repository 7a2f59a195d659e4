//! The edge's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::give_memory_back();
    marketprism_edge::cli::main()
}

#[cfg(target_env = "gnu")]
mod allocator {
    #![allow(unsafe_code)]

    use std::ffi::c_int;

    /// Free memory at the end of an arena that is kept.
    const KEPT_BYTES: c_int = 512 << 10;

    /// The C library raises this bound to twice the largest block that was freed, and has an arena for nearly every thread: after changes of
    /// adapters, whose compilation takes megabytes on changing threads, they would keep as much as the edge needs.
    pub fn give_memory_back() {
        // SAFETY: it changes a number of the allocator, before another thread runs.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) };
    }
}

#[cfg(not(target_env = "gnu"))]
mod allocator {
    pub const fn give_memory_back() {}
}
