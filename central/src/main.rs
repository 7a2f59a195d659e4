//! The central server of MarketPrism.

use std::process::ExitCode;

/// Messages are many small pieces of memory that one thread asks for and another gives back, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    marketprism_central::main()
}
