//! Changes of the adapter's version between two batches.

use std::time::{Duration, Instant};

use marketprism_adapter_host::AdapterSupervisor;
use marketprism_service::clock;

use crate::feed::observer::FrameObserver;
use crate::feed::status::FeedStatus;
use crate::feed::version::{SwitchedVersion, VersionCommand};
use crate::records::RecordBuilder;

/// Keeps records and status with the version that events come from.
#[derive(Debug)]
pub(super) struct VersionFollower {
    versions: u64,
    /// Longest command since the last seed: a change keeps the pipeline from frames in each of its commands.
    longest: Duration,
}

impl VersionFollower {
    pub(super) fn new(adapter: &AdapterSupervisor) -> Self {
        Self { versions: adapter.versions(), longest: Duration::ZERO }
    }

    /// Obeys the commands that wait. The batch is empty.
    pub(super) fn obey(
        &mut self,
        adapter: &mut AdapterSupervisor,
        builder: &mut RecordBuilder,
        status: &FeedStatus,
        observer: Option<&dyn FrameObserver>,
    ) {
        while let Some(command) = status.versions.take() {
            let began = Instant::now();
            // Whoever asked may have given up; it takes the trial back then.
            match command {
                VersionCommand::Seed(answer) => {
                    self.longest = Duration::ZERO;
                    let _ = answer.send(adapter.seed());
                }
                VersionCommand::Shadow(successor, accepted, answer) => {
                    let _ = answer.send(adapter.begin_shadow(*successor, accepted));
                }
                VersionCommand::Probation(earlier, accepted, answer) => {
                    let _ = answer.send(adapter.begin_probation(*earlier, accepted));
                }
                VersionCommand::Switch(answer) => {
                    let monitor = adapter.switch();
                    self.follow(adapter, builder, status, observer);
                    let pause = self.longest.max(began.elapsed());
                    let _ = answer.send(monitor.map(|monitor| SwitchedVersion { monitor, pause }));
                }
                VersionCommand::Replace(successor, answer) => {
                    let is_replaced = adapter.replace(*successor);
                    self.follow(adapter, builder, status, observer);
                    let _ = answer.send(is_replaced);
                }
                VersionCommand::RollBack(answer) => {
                    adapter.roll_back();
                    self.follow(adapter, builder, status, observer);
                    let _ = answer.send(());
                }
                VersionCommand::EndTrial(answer) => {
                    adapter.end_trial();
                    let _ = answer.send(());
                }
            }
            self.longest = self.longest.max(began.elapsed());
        }
    }

    /// Events carry the version that they come from.
    pub(super) fn follow(
        &mut self,
        adapter: &AdapterSupervisor,
        builder: &mut RecordBuilder,
        status: &FeedStatus,
        observer: Option<&dyn FrameObserver>,
    ) {
        if adapter.versions() != self.versions {
            self.versions = adapter.versions();
            builder.set_adapter(adapter.adapter().id());
            status.set_running_adapter(adapter.adapter().clone());
            if let Some(observer) = observer {
                observer.adapter(adapter.adapter(), clock::now_ns());
            }
        }
    }
}
