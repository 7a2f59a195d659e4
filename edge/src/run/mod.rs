//! The command `run`: starts every part of the edge and stops them in order.

mod context;
mod edge;

pub(crate) use context::EdgeContext;
pub use edge::Edge;
