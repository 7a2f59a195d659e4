//! Both versions of an adapter, frame by frame.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use async_nats::Subject;
use marketprism_schema::{DataType, Line, TypeCorrection};
use tokio::sync::mpsc::Sender;

use super::comparison::{AdapterSide, CorrectedRecord, VersionComparison};
use super::span::time_text;
use crate::config::SymbolSelection;
use crate::replay::{FrameReplay, Recordings};

/// Interval of progress lines.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Both versions at the same frame.
pub(super) struct ReplayedPair<'a> {
    pub(super) old: FrameReplay,
    pub(super) new: FrameReplay,
    pub(super) comparison: VersionComparison,
    selection: SymbolSelection,
    /// Subjects of the events, and whether the feed collects them.
    collected: HashMap<String, bool>,
    sender: Option<&'a Sender<CorrectedRecord>>,
    progress: Instant,
    to_ns: i64,
    /// Answers to requests that only one version makes.
    pub(super) unshared_answers: u64,
}

impl<'a> ReplayedPair<'a> {
    pub(super) fn new(
        old: FrameReplay,
        new: FrameReplay,
        selection: SymbolSelection,
        sender: Option<&'a Sender<CorrectedRecord>>,
        to_ns: i64,
    ) -> Self {
        Self {
            old,
            new,
            comparison: VersionComparison::default(),
            selection,
            collected: HashMap::new(),
            sender,
            progress: Instant::now(),
            to_ns,
            unshared_answers: 0,
        }
    }

    const fn side(&mut self, side: AdapterSide) -> &mut FrameReplay {
        match side {
            AdapterSide::Old => &mut self.old,
            AdapterSide::New => &mut self.new,
        }
    }

    /// Gives a frame to both versions or to none. A version may ask at another address than the one that ran: the recorded answers show
    /// nothing about its events, and those of the other version would all be withdrawn.
    pub(super) fn push(
        &mut self,
        recordings: &Recordings,
        file: usize,
        number: u64,
        line: &Line<'_>,
    ) -> anyhow::Result<()> {
        if self.old.has_source(line) != self.new.has_source(line) {
            self.unshared_answers += 1;
            return Ok(());
        }
        for side in [AdapterSide::Old, AdapterSide::New] {
            if !self.side(side).push(file, number, line)? {
                self.step(recordings)?;
                self.side(side).push(file, number, line)?;
            }
        }
        Ok(())
    }

    pub(super) fn step(&mut self, recordings: &Recordings) -> anyhow::Result<()> {
        let mut out = Vec::new();
        for side in [AdapterSide::Old, AdapterSide::New] {
            let replay = self.side(side);
            replay.normalize(recordings, &mut std::io::sink())?;
            for record in std::mem::take(&mut replay.records) {
                if self.is_collected(&record.subject) {
                    self.comparison.add(side, &record, &mut out);
                }
            }
        }
        let at_ns = self.old.last_ns().max(self.new.last_ns());
        self.comparison.settle(at_ns, &mut out);
        self.send(out)?;
        self.show_progress(at_ns)
    }

    /// Frames may have events of symbols that the feed does not collect.
    fn is_collected(&mut self, subject: &Subject) -> bool {
        if let Some(is_collected) = self.collected.get(subject.as_str()) {
            return *is_collected;
        }
        let symbol = subject.rsplit('.').next().unwrap_or_default();
        // A volatility index belongs to a coin.
        let is_collected =
            self.selection.includes(symbol) || subject.starts_with(DataType::VolatilityIndex.as_str());
        self.collected.insert(subject.to_string(), is_collected);
        is_collected
    }

    pub(super) fn send(&self, records: Vec<CorrectedRecord>) -> anyhow::Result<()> {
        let Some(sender) = self.sender else { return Ok(()) };
        for record in records {
            sender.blocking_send(record).map_err(|_| anyhow::anyhow!("publishing ended"))?;
        }
        Ok(())
    }

    fn show_progress(&mut self, at_ns: i64) -> anyhow::Result<()> {
        if self.progress.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.progress = Instant::now();
        let differences: u64 = self.comparison.types().iter().map(TypeCorrection::events).sum();
        let (at, to, frames) = (time_text(at_ns), time_text(self.to_ns), self.old.counts.frames);
        writeln!(std::io::stderr(), "{at} of {to}: {frames} frames, {differences} events differ")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind, PAGE_URL, component};
    use marketprism_adapter_host::{Adapter, Engine, Limits};
    use marketprism_schema::RecordingKind;

    use super::*;
    use crate::raw::TimeSpan;
    use crate::records::EventOrigin;
    use crate::replay::ReplaySetup;

    #[test]
    fn an_answer_to_a_request_that_only_one_version_makes_goes_to_neither_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        std::fs::write(&path, "").unwrap();
        let recordings = Recordings::new(&[path], TimeSpan::ALL).unwrap();
        let engine = Engine::new(None).unwrap();
        let start = |kind| {
            let adapter = Adapter::from_bytes(&engine, &component(kind), &Limits::default()).unwrap();
            let [edge, region] = ["edge-test", "test"].map(str::to_owned);
            let (adapter_id, exchange) = (adapter.id().to_owned(), EXCHANGE.to_owned());
            let setup = ReplaySetup {
                data_types: Vec::new(),
                market_types: None,
                depth: None,
                publish_interval: Duration::from_millis(100),
                every_update: true,
                deduplicate: true,
                origin: EventOrigin { edge, region, adapter: adapter_id, exchange },
            };
            FrameReplay::start(&adapter, setup, &recordings).unwrap()
        };
        let recorded = |kind, url: Option<&'static str>| Line {
            at: 1,
            kind,
            conn: None,
            url: url.map(Into::into),
            data: Some("x".into()),
        };
        let lines = [recorded(RecordingKind::WsIn, None), recorded(RecordingKind::Rest, Some(PAGE_URL))];
        // The one kind polls the page, the other has no poll.
        let (polls, has_none) = (FixtureKind::FollowUpForever, FixtureKind::WellBehaved);
        for (old, new, frames, unshared) in
            [(polls, polls, 2, 0), (polls, has_none, 1, 1), (has_none, polls, 1, 1)]
        {
            let selection = SymbolSelection::new(&[], &[]);
            let mut pair = ReplayedPair::new(start(old), start(new), selection, None, i64::MAX);
            for line in &lines {
                pair.push(&recordings, 0, 1, line).unwrap();
            }
            pair.step(&recordings).unwrap();
            let counted = [pair.old.counts.frames, pair.new.counts.frames];
            assert_eq!((counted, pair.unshared_answers), ([frames; 2], unshared), "{old:?}, {new:?}");
        }
    }
}
