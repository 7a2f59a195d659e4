//! `diagnose`: looks at everything that central needs, and says of each what is wrong and what to do about it.

mod check;
mod data;
mod diagnosis;
mod systems;

pub use diagnosis::diagnose;
