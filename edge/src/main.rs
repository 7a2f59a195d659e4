//! The edge's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    give_memory_back();
    marketprism_edge::cli::main()
}

/// The C library raises the bound of the free memory that an arena keeps to twice the largest block that was freed, and has an arena for nearly
/// every thread: after changes of adapters, whose compilation takes megabytes on changing threads, they would keep as much as the edge needs.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn give_memory_back() {
    const KEPT_BYTES: std::ffi::c_int = 512 << 10;
    // SAFETY: it changes a number of the allocator, before another thread runs.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) };
}

#[cfg(not(target_env = "gnu"))]
const fn give_memory_back() {}
