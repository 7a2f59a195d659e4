//! Kept raw frames of a span through the old and the new version of an adapter, batch by batch.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use marketprism_adapter_host::Adapter;
use marketprism_schema::{
    CORRECTION_VERSION, Correction, CorrectionAdapter, DataType, EventId, TypeCorrection,
};
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_128;

use super::comparison::CorrectedRecord;
use super::pair::ReplayedPair;
use super::publish::CorrectionPublisher;
use super::span::{kept_component, kept_frames, time_text, version_of};
use crate::config::{Adapters, Config, FeedConfig, SymbolSelection};
use crate::raw::{TimeSpan, raw_folder};
use crate::records::EventOrigin;
use crate::replay::{FrameReplay, ReplayCounts, ReplaySetup, parse_time};

/// Events of a correction that wait for the publisher. Full: the comparison waits.
const QUEUE: usize = 1_024;

#[derive(Debug, Clone, Args)]
pub struct RenormalizeOptions {
    /// Configuration of the edge that kept the frames. The edge may run meanwhile.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Exchange id of the feed.
    #[arg(long, value_name = "ID")]
    pub exchange: String,
    /// Begin of the span, by the receive time of the frames.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    pub from: i64,
    /// End of the span.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    pub to: i64,
    /// Component of the version whose events shall win.
    #[arg(long, value_name = "FILE")]
    pub adapter: PathBuf,
    /// Component of the version whose rows are stored. Default: the copy of the one that normalized the frames, which is kept with them; after a
    /// correction the version that won.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Only this data type; may be given several times. Default: all of the feed.
    #[arg(long = "data-type", value_name = "TYPE")]
    pub data_types: Vec<DataType>,
    /// Print what differs, and publish nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A span, and both versions.
#[derive(Clone)]
pub struct Renormalize {
    options: RenormalizeOptions,
    config: Config,
    feed: FeedConfig,
    old: Adapter,
    new: Adapter,
    id: EventId,
}

struct Differences {
    frames: u64,
    new_books: u64,
    earlier_trades: u64,
    unshared_answers: u64,
    types: Vec<TypeCorrection>,
}

impl Renormalize {
    /// Refuses what cannot be compared before anything is published.
    pub fn prepare(
        mut options: RenormalizeOptions,
        config: Config,
        adapters: &mut Adapters,
    ) -> anyhow::Result<Self> {
        let Some(feed) = config.feeds.iter().find(|feed| feed.exchange == options.exchange).cloned() else {
            let known: Vec<&str> = config.feeds.iter().map(|feed| feed.exchange.as_str()).collect();
            bail!("--exchange: is {:?}, allowed: {}", options.exchange, known.join(", "));
        };
        // They follow the resyncs of the run that recorded them, and changes its numbers.
        let mut known = feed.data_types.clone();
        known.retain(|kind| !kind.is_made());
        if options.data_types.is_empty() {
            options.data_types.clone_from(&known);
        }
        options.data_types.sort_unstable();
        options.data_types.dedup();
        if let Some(made) = options.data_types.iter().find(|kind| kind.is_made()) {
            bail!(
                "--data-type: is {made}, which cannot be corrected: its events follow the resyncs and losses of the run that recorded them"
            );
        }
        if let Some(other) = options.data_types.iter().find(|kind| !known.contains(kind)) {
            let known: Vec<&str> = known.iter().map(|kind| kind.as_str()).collect();
            bail!("--data-type: is {other}, allowed: {}", known.join(", "));
        }
        let folder = raw_folder(&config.data_dir, &options.exchange);
        let version = version_of(&kept_frames(&folder, options.span())?)?;
        let against = options.against.clone().map_or_else(|| kept_component(&folder, &version), Ok)?;
        let mut load = |path: &PathBuf| {
            let loaded = adapters.load(path, None);
            loaded.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
        };
        let (old, new) = (load(&against)?, load(&options.adapter)?);
        ensure!(
            new.digest() != old.digest(),
            "--adapter: is {}, which it would be compared with: there is nothing to correct",
            new.id()
        );
        let id = options.correction_id(&config.name, &feed, &old, &new);
        Ok(Self { options, config, feed, old, new, id })
    }

    /// Compares the span, publishes what differs unless it is a dry run, and gives the report.
    pub async fn run(self) -> anyhow::Result<String> {
        let (sender, records) = tokio::sync::mpsc::channel(QUEUE);
        let publisher = match self.options.dry_run {
            true => None,
            false => Some(CorrectionPublisher::connect(&self.config.nats, &self.config.name, self.id).await?),
        };
        let comparing = self.clone();
        let sender = publisher.is_some().then_some(sender);
        let comparison = spawn_blocking(move || comparing.compare(sender.as_ref()));
        let Some(publisher) = publisher else {
            let found = comparison.await.context("the comparison panicked")??;
            return Ok(self.report(&found, "nothing was published (--dry-run)"));
        };
        // If publishing fails, the comparison finds its channel closed.
        let published = publisher.publish(records).await;
        let compared = comparison.await.context("the comparison panicked")?;
        published?;
        let found = compared?;
        if found.types.iter().all(|one| one.events() == 0) {
            return Ok(self.report(&found, "nothing was published: both versions give the same events"));
        }
        publisher.close(&self.closing(&found)).await?;
        Ok(self.report(&found, "published; the report of central shows when it is carried out"))
    }

    fn setup(&self) -> ReplaySetup {
        ReplaySetup {
            data_types: self.options.data_types.clone(),
            market_types: Some(self.feed.market_types.clone()),
            depth: self.feed.depth,
            publish_interval: self.feed.publish_interval,
            // The times at which states were published are those of the run.
            every_update: true,
            deduplicate: true,
            origin: EventOrigin {
                edge: self.config.name.clone(),
                region: self.config.region.clone(),
                // Of both, so that equal events are equal bytes.
                adapter: self.new.id().to_owned(),
                exchange: self.options.exchange.clone(),
            },
        }
    }

    fn compare(&self, sender: Option<&Sender<CorrectedRecord>>) -> anyhow::Result<Differences> {
        let folder = raw_folder(&self.config.data_dir, &self.options.exchange);
        let recordings = kept_frames(&folder, self.options.span())?;
        let old = FrameReplay::start(&self.old, self.setup(), &recordings).context("the old version")?;
        let new = FrameReplay::start(&self.new, self.setup(), &recordings).context("the new version")?;
        check_symbols(&old, &new)?;
        let selection = SymbolSelection::new(&self.feed.symbols, &self.feed.exclude);
        let mut pair = ReplayedPair::new(old, new, selection, sender, self.options.to);
        recordings.each_frame(|file, number, line| pair.push(&recordings, file, number, line))?;
        pair.step(&recordings)?;
        let mut out = Vec::new();
        pair.comparison.end(&mut out);
        pair.send(out)?;
        let (old, new) = (pair.old.counts, pair.new.counts);
        check_counts(&old, &new)?;
        let (new_books, types) = (pair.comparison.new_books, pair.comparison.types());
        check_books(&types, new_books)?;
        let earlier_trades = old.earlier_trades.max(new.earlier_trades);
        let (frames, unshared_answers) = (old.frames.max(new.frames), pair.unshared_answers);
        Ok(Differences { frames, new_books, earlier_trades, unshared_answers, types })
    }

    fn closing(&self, found: &Differences) -> Correction {
        let version = |adapter: &Adapter| CorrectionAdapter {
            id: adapter.id().to_owned(),
            digest: adapter.digest().to_owned(),
        };
        Correction {
            version: CORRECTION_VERSION,
            edge: self.config.name.clone(),
            region: self.config.region.clone(),
            id: self.id,
            exchange: self.options.exchange.clone(),
            from: self.options.from,
            to: self.options.to,
            frames: found.frames,
            old: version(&self.old),
            new: version(&self.new),
            types: found.types.clone(),
        }
    }

    fn report(&self, found: &Differences, end: &str) -> String {
        let RenormalizeOptions { exchange, from, to, .. } = &self.options;
        let (from, to, old, new) = (time_text(*from), time_text(*to), self.old.id(), self.new.id());
        let mut text = format!("correction {} of {exchange}, {from} to {to}\n{old} -> {new}\n", self.id);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} frames", found.frames);
        for TypeCorrection { data_type, old, new, changed, added, withdrawn } in &found.types {
            let _ = writeln!(
                text,
                "{data_type}: {changed} changed, {added} added, {withdrawn} withdrawn; digest {old} -> {new}"
            );
        }
        if found.new_books > 0 {
            let _ = writeln!(
                text,
                "orderbook: {} states are of the new version only: not added",
                found.new_books
            );
        }
        if found.earlier_trades > 0 {
            let count = found.earlier_trades;
            let _ = writeln!(
                text,
                "trade: {count} trades of the venue's history are from before the span's first trade: not compared (allowed: a --from \
                 before the connection was lost)"
            );
        }
        if found.unshared_answers > 0 {
            let count = found.unshared_answers;
            let _ = writeln!(
                text,
                "{count} answers belong to requests that only one version makes: not compared, their rows stay as they are"
            );
        }
        for made in self.feed.data_types.iter().filter(|kind| kind.is_made()) {
            let _ = writeln!(
                text,
                "{made}: not corrected: its events follow the resyncs and losses of the run that recorded them; they, and books that are \
                 rebuilt from them, are those of the old version"
            );
        }
        text + end
    }
}

impl RenormalizeOptions {
    const fn span(&self) -> TimeSpan {
        TimeSpan { from_ns: self.from, to_ns: self.to }
    }

    /// Follows from the input, so that a repetition gives the same messages.
    fn correction_id(&self, edge: &str, feed: &FeedConfig, old: &Adapter, new: &Adapter) -> EventId {
        let kinds: Vec<&str> = self.data_types.iter().map(|kind| kind.as_str()).collect();
        let (from, to) = (self.from.to_string(), self.to.to_string());
        // Of another selection or depth other events differ.
        let shape = format!("{:?} {:?} {:?} {:?}", feed.symbols, feed.exclude, feed.market_types, feed.depth);
        let parts = [edge, &self.exchange, &from, &to, &kinds.join(","), old.digest(), new.digest(), &shape];
        EventId(xxh3_128(parts.join("\u{1f}").as_bytes()))
    }
}

/// The streams of the audits are those of the symbols.
fn check_symbols(old: &FrameReplay, new: &FrameReplay) -> anyhow::Result<()> {
    let new = new.symbols();
    for ((venue_symbol, market), symbol) in old.symbols() {
        let other = new.get(&(venue_symbol, market)).copied().unwrap_or(symbol);
        ensure!(
            other == symbol,
            "the new version calls {market} {venue_symbol} {other}, the old one {symbol}: other symbols cannot be corrected"
        );
    }
    Ok(())
}

/// A version that fails where the old one did not would withdraw what it cannot read.
fn check_counts(old: &ReplayCounts, new: &ReplayCounts) -> anyhow::Result<()> {
    ensure!(
        new.faults == 0,
        "the new version faults on {} of {} frames: nothing is corrected",
        new.faults,
        new.frames
    );
    ensure!(
        new.malformed <= old.malformed,
        "the new version calls {} elements malformed, the old one {}: nothing is corrected",
        new.malformed,
        old.malformed
    );
    Ok(())
}

/// Time and checksum are part of a book's id: books with other ids would be withdrawn, and none would take their place.
fn check_books(types: &[TypeCorrection], new_books: u64) -> anyhow::Result<()> {
    let books = types.iter().find(|one| one.data_type == DataType::OrderBook);
    let withdrawn = books.map_or(0, |books| books.withdrawn);
    ensure!(
        withdrawn == 0 || new_books == 0,
        "the new version gives {new_books} states of books other ids (update id, time or checksum): nothing is corrected; leave books \
         out with --data-type"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_faults_or_finds_more_malformed_is_refused() {
        let counts =
            |malformed, faults| ReplayCounts { frames: 9, events: 0, malformed, faults, earlier_trades: 0 };
        let check = |old, new| check_counts(&old, &new).map_err(|error| error.to_string());
        assert_eq!(check(counts(2, 1), counts(2, 0)), Ok(()));
        assert!(check(counts(0, 1), counts(0, 1)).unwrap_err().contains("faults on 1 of 9 frames"));
        let refused = check(counts(2, 0), counts(3, 0)).unwrap_err();
        assert!(refused.contains("calls 3 elements malformed, the old one 2"), "{refused}");
    }

    #[test]
    fn books_whose_ids_differ_are_refused_instead_of_withdrawn() {
        let types = |withdrawn| {
            let (old, new, changed, added) = Default::default();
            [TypeCorrection { data_type: DataType::OrderBook, old, new, changed, added, withdrawn }]
        };
        assert!(check_books(&types(0), 5).is_ok() && check_books(&types(5), 0).is_ok());
        let refused = check_books(&types(5), 5).unwrap_err().to_string();
        assert!(
            refused.contains("5 states of books other ids") && refused.contains("--data-type"),
            "{refused}"
        );
    }
}
