//! The command `renormalize`: kept raw frames through two versions of an adapter; what differs is published as a correction.

mod command;
mod comparison;
mod pair;
mod publish;
mod span;

pub use command::{Renormalize, RenormalizeOptions};
