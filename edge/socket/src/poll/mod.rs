//! Requests on a schedule.

mod covered_time;
mod page_queue;
mod schedule;
mod task;

pub(crate) use page_queue::PageQueue;
pub(crate) use task::PollTask;
