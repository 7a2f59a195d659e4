//! Builds the workspace's adapters as WebAssembly components: compiles the core module (Rust by cargo, C by
//! clang), converts it, rejects one that imports anything but `log`, and writes it with its digest.

mod build;
mod clang;
mod component;
mod toolchain;
mod workspace;

pub use build::{BuildReport, BuiltAdapter, Options, build};
pub use component::{encode, inspect};
