//! Builds every adapter of the workspace as a WebAssembly component: compiles the core module with whichever
//! toolchain of this machine can (Rust by cargo, C by clang), makes it a component, refuses one that imports anything but `log`, and
//! writes it with its digest.

mod build;
mod clang;
mod command;
mod component;
mod toolchain;
mod workspace;

pub use build::{Built, Options, Outcome, build};
pub use component::{encode, inspect};
