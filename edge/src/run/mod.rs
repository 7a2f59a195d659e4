//! The command `run`: starts every part of the edge and stops them in order.

mod edge;

pub use edge::Edge;
pub(crate) use edge::Shared;
