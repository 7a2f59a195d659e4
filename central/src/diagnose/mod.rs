//! `diagnose`: checks everything that central depends on, each with its remedy.

mod check;
mod data;
mod diagnosis;
mod systems;

pub use diagnosis::diagnose;
