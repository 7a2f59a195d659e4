//! The central server of MarketPrism.

use std::process::ExitCode;

/// Messages are many small allocations made by one thread and freed by another, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    use_small_pages();
    marketprism_central::main()
}

/// The allocator asks for huge pages. What a burst frees (the start of a stream, a recovery) leaves them half empty, and the kernel joins
/// the pieces to huge pages again: a resting central then keeps a quarter more than it uses.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn use_small_pages() {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: it sets a flag of the process, before another thread runs. A kernel that refuses leaves it as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, ON, UNUSED, UNUSED, UNUSED) };
}

#[cfg(not(target_os = "linux"))]
const fn use_small_pages() {}
