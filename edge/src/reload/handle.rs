//! The way of other parts to the owner of the configuration: requests for a reload, and the state of the newest one.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::report::{ReloadReport, ReloadResult};
use crate::limits::RELOADS_WAITING_MAX;

#[derive(Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<oneshot::Sender<ReloadReport>>,
    /// Why the file is not what runs.
    problem: Mutex<Option<String>>,
}

/// Requests for the owner of the configuration.
pub type ReloadRequests = mpsc::Receiver<oneshot::Sender<ReloadReport>>;

impl ReloadHandle {
    pub fn new() -> (Self, ReloadRequests) {
        let (requests, receiver) = mpsc::channel(RELOADS_WAITING_MAX);
        (Self { requests, problem: Mutex::default() }, receiver)
    }

    /// Waits for the reload. `None`: too many wait for one, or the edge stops.
    pub async fn reload(&self) -> Option<ReloadReport> {
        let (answer, report) = oneshot::channel();
        self.requests.try_send(answer).ok()?;
        report.await.ok()
    }

    /// Why the file is not what runs, until a valid one was read.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note(&self, report: &ReloadReport) {
        let problem = (!report.result.is_current()).then(|| {
            let (first, count) = (report.errors.first().map_or("", String::as_str), report.errors.len());
            let what = match report.result {
                ReloadResult::Failed => "cannot be applied",
                _ => "is invalid",
            };
            format!(
                "the configuration file {what}, the running configuration stays ({count} errors): {first}"
            )
        });
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}
