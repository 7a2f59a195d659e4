//! Requests on a schedule.

mod schedule;
mod task;

pub(crate) use task::{PageQueue, PollTask};
