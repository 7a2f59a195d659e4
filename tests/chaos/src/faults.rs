//! The faults, done to the parts and ended.

use std::time::Duration;

use async_nats::jetstream;
use marketprism_tests::link::Link;
use marketprism_venue_sim::{FaultAction, FaultSpec};

use crate::clock::now_ms;
use crate::schedule::{Action, Part};
use crate::system::{EDGES, FullJournal, PATIENCE, SmallDisk, System};
use crate::versions::TOKEN;

impl System {
    pub async fn begin(&mut self, action: Action) {
        match action {
            Action::Kill(part) => self.kill(part),
            Action::KillWithBroker(index) => {
                self.broker.kill();
                self.edges[index].kill();
            }
            Action::ReplaceCentral => self.central.kill(),
            Action::Stop(Part::Edge(index)) => drop(self.edges[index].process().terminate(PATIENCE).await),
            Action::Stop(_) => drop(self.central.process().terminate(PATIENCE).await),
            Action::Suspend(part) => self.signal(part, "STOP"),
            Action::CutBroker(part) => self.link(part).shut(),
            Action::CutHot => self.hot_link.shut(),
            Action::RestoreHot => {
                // An engine that runs cannot be copied.
                self.hot.kill();
                self.hot.copy_data();
                self.hot.restart().await;
            }
            Action::RestoreBroker => {
                self.broker.kill();
                self.broker.copy_store(&self.copy_of_broker());
                self.broker.restart().await;
            }
            Action::DeleteStream => self.delete_stream().await,
            Action::EmptyBroker => {
                self.broker.kill();
                self.broker.delete_store();
                self.broker.restart().await;
            }
            Action::FullDisk => self.disk.iter().for_each(SmallDisk::fill),
            Action::FullJournal(index) => {
                let from_ms = now_ms();
                self.full_journals.push(FullJournal { edge: EDGES[index], from_ms, to_ms: u64::MAX });
                self.edge_disks[index].small.iter().for_each(SmallDisk::fill);
            }
            Action::SlowJournal(index, delay_ms) => self.edge_disks[index].watched.set_delay_ms(delay_ms),
            Action::StepClock(index, seconds) => {
                let now_ms = now_ms();
                let begin_ms = now_ms.min(now_ms.saturating_add_signed(seconds * 1_000));
                self.lived_twice.push((begin_ms, u64::MAX));
                self.edge_disks[index].clock.set_seconds(seconds);
            }
            Action::Reload(index) => self.reload(index).await,
            Action::SwapAdapter(index) => {
                self.with_other_adapter.insert(self.edges[index].process().pid());
                self.versions.load_into(&self.edges[index]).await;
            }
            Action::DropTrades(_)
            | Action::DropOnOne(_)
            | Action::BookGap
            | Action::CutVenue
            | Action::Freeze
            | Action::Refuse => self.begin_at_the_venue(action),
        }
    }

    pub async fn end(&mut self, action: Action) {
        match action {
            Action::Kill(Part::Edge(index)) | Action::Stop(Part::Edge(index)) => {
                self.edges[index].restart().await
            }
            Action::KillWithBroker(index) => {
                self.edges[index].restart().await;
                self.broker.restart().await;
            }
            Action::ReplaceCentral => {
                std::mem::swap(&mut self.central, &mut self.spare_central);
                self.central.start_without_waiting();
            }
            Action::Kill(Part::Central) | Action::Stop(_) => self.central.start_without_waiting(),
            Action::Kill(Part::Broker) => self.broker.restart().await,
            Action::Kill(Part::Hot) => self.hot.restart().await,
            Action::Kill(Part::Cold) => self.cold.restart().await,
            Action::Suspend(part) => self.signal(part, "CONT"),
            Action::CutBroker(part) => self.link(part).cut(),
            Action::CutHot => self.hot_link.cut(),
            Action::RestoreHot => {
                self.hot.kill();
                self.hot.put_back();
                self.hot.restart().await;
            }
            Action::RestoreBroker => {
                self.broker.kill();
                self.broker.restore_store(&self.copy_of_broker());
                self.broker.restart().await;
            }
            // nats-server 2.15 stores nothing after a failed write, whatever room there is, until it is started again.
            Action::FullDisk if self.disk.is_some() => {
                self.disk.iter().for_each(SmallDisk::empty);
                self.broker.restart().await;
            }
            Action::FullJournal(index) => {
                self.edge_disks[index].small.iter().for_each(SmallDisk::empty);
                let full = self.full_journals.iter_mut().rfind(|full| full.edge == EDGES[index]);
                full.unwrap().to_ms = now_ms() + 3_000;
            }
            Action::SlowJournal(index, _) => self.edge_disks[index].watched.set_delay_ms(0),
            Action::StepClock(index, seconds) => {
                self.edge_disks[index].clock.set_seconds(0);
                // The process sees it within a second.
                let until_ms = now_ms().max(now_ms().saturating_add_signed(seconds * 1_000)) + 2_000;
                let latest_ms = now_ms().min(now_ms().saturating_add_signed(seconds * 1_000));
                // Both clocks may be stepped, by minutes that differ.
                let is_this = |(begin, end): &&mut (u64, u64)| {
                    *end == u64::MAX && (latest_ms - 60_000..=latest_ms).contains(begin)
                };
                if let Some((_, end)) = self.lived_twice.iter_mut().find(is_this) {
                    *end = until_ms;
                }
            }
            // One that waits for a client must not fall into the calm.
            Action::DropTrades(_)
            | Action::DropOnOne(_)
            | Action::BookGap
            | Action::Freeze
            | Action::Refuse => drop(self.fault.take().map(|id| self.sim.remove_fault(id))),
            _ => {}
        }
    }

    fn kill(&mut self, part: Part) {
        match part {
            Part::Edge(index) => self.edges[index].kill(),
            Part::Central => self.central.kill(),
            Part::Broker => self.broker.kill(),
            Part::Hot => self.hot.kill(),
            Part::Cold => self.cold.kill(),
            Part::Venue => {}
        }
    }

    fn begin_at_the_venue(&mut self, action: Action) {
        match action {
            Action::DropTrades(count) => self.fault = Some(self.withhold(count, None)),
            Action::DropOnOne(count) => {
                let connection = self.sim.connections().first().map(|connection| connection.id);
                self.fault = Some(self.withhold(count, connection));
            }
            Action::BookGap => {
                let gap = FaultSpec::new(FaultAction::Gap).exchange("binance_spot").updates(3_u64);
                self.fault = self.sim.fault(gap).ok();
            }
            Action::Freeze => self.fault = self.sim.fault(FaultSpec::new(FaultAction::Freeze)).ok(),
            Action::Refuse => {
                let spec = FaultSpec::new(FaultAction::Refuse).duration_ms(12_000_u64);
                self.fault = self.sim.fault(spec.exchange("binance_spot")).ok();
                self.sim.cut_all();
            }
            _ => drop(self.sim.cut_all()),
        }
    }

    fn signal(&mut self, part: Part, signal: &str) {
        let process = match part {
            Part::Edge(index) => self.edges[index].process(),
            Part::Central => self.central.process(),
            Part::Broker => self.broker.process(),
            Part::Hot => self.hot.process(),
            Part::Cold => self.cold.process(),
            Part::Venue => return,
        };
        process.signal(signal);
    }

    fn link(&self, part: Part) -> &Link {
        match part {
            Part::Edge(index) => &self.edge_links[index],
            _ => &self.central_link,
        }
    }

    /// Number of the fault.
    fn withhold(&self, count: u64, connection: Option<u64>) -> u64 {
        let spec =
            FaultSpec::new(FaultAction::Drop).exchange("binance_spot").symbol("BTCUSDT").stream("rade");
        let spec = FaultSpec { connection, ..spec.count(count) };
        self.sim.fault(spec).unwrap()
    }

    /// By its name, as a hand would do it: a broker that does not answer keeps it.
    async fn delete_stream(&self) {
        let deleted = async {
            let client = async_nats::connect(self.broker.url()).await.map_err(|error| error.to_string())?;
            jetstream::new(client).delete_stream("MARKET_DATA").await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(Duration::from_secs(5), deleted).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => println!("stream not deleted: {error}"),
            Err(_elapsed) => println!("stream not deleted: no answer"),
        }
    }

    async fn reload(&mut self, index: usize) {
        self.reloads += 1;
        let feeds = self.feeds(self.reloads);
        self.edges[index].set_feeds(&feeds);
        let (status, answer) = self.edges[index].post("/reload", TOKEN).await;
        assert_eq!(status, 200, "{answer}");
    }

    fn copy_of_broker(&self) -> std::path::PathBuf {
        self.folder.join("copy-of-broker")
    }
}
