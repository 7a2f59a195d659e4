//! Requests on a schedule.

mod pages;
mod schedule;
mod task;
mod window;

pub(crate) use pages::Pages;
pub(crate) use task::PollTask;
