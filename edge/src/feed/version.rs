//! Commands that change the version of a feed's adapter in its running pipeline.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use marketprism_adapter_host::{DifferenceKind, Successor, SuccessorSeed, TrialMonitor};
use tokio::sync::{Notify, oneshot};

/// A pipeline obeys between two batches. An answer that does not come means that the pipeline ended.
pub enum VersionCommand {
    Seed(oneshot::Sender<SuccessorSeed>),
    /// Answer: `None` for a successor that lacks the newest reference answers.
    Shadow(Box<Successor>, BTreeSet<DifferenceKind>, oneshot::Sender<Option<Arc<TrialMonitor>>>),
    /// Of the version that runs, with this earlier one in parallel. Answer: as of `Shadow`.
    Probation(Box<Successor>, BTreeSet<DifferenceKind>, oneshot::Sender<Option<Arc<TrialMonitor>>>),
    /// Answer: `None` without a new version in the shadow.
    Switch(oneshot::Sender<Option<SwitchedVersion>>),
    /// Answer: false for a successor that lacks the newest reference answers.
    Replace(Box<Successor>, oneshot::Sender<bool>),
    RollBack(oneshot::Sender<()>),
    EndTrial(oneshot::Sender<()>),
}

#[derive(Debug)]
pub struct SwitchedVersion {
    /// Comparison since the switch.
    pub monitor: Arc<TrialMonitor>,
    /// Time in which the pipeline took no frame.
    pub pause: Duration,
}

/// Commands that wait for the end of a pipeline's turn. Their sender awaits each answer, so few wait.
#[derive(Default)]
pub struct VersionMailbox {
    /// `None`: no pipeline is there to obey, and a command is dropped, which its sender sees.
    commands: Mutex<Option<VecDeque<VersionCommand>>>,
    arrived: Notify,
}

impl std::fmt::Debug for VersionMailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VersionMailbox")
    }
}

impl VersionMailbox {
    pub fn send(&self, command: VersionCommand) {
        if let Some(commands) = &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            commands.push_back(command);
            self.arrived.notify_one();
        }
    }

    pub fn take(&self) -> Option<VersionCommand> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.pop_front()
    }

    /// Waits for a command that came after the last take.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// A pipeline begins to obey.
    pub fn open(&self) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = Some(VecDeque::new());
    }

    /// The pipeline has ended.
    pub fn close(&self) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
