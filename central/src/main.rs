//! The central server of MarketPrism.

use std::process::ExitCode;

/// Messages are many small allocations made by one thread and freed by another, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    marketprism_central::main()
}
