//! `marketprism-bench [adapter|books|edge|latency|venues|swaps|wire|deltas|batches|ingest|ledger|replication|report|sustained|storage|rest|scale]...`: measures, prints a
//! table, and fails when a goal is missed. `compare REVISION [part]...` does so with two revisions in turn, `history TEXT` prints what
//! earlier runs measured.

mod adapter;
mod batches;
mod books;
mod compare;
mod deltas;
mod edge;
mod engine;
mod history;
mod ingest;
mod latency;
mod ledger;
mod recorded;
mod replication;
mod report;
mod rest;
mod sample;
mod scale;
mod storage;
mod sustained;
mod swaps;
mod venues;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use marketprism_tests::figures::Report;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Adapter calls: sandboxed against native.
    Adapter,
    /// Order books of 400 to 5,000 levels, against a tree.
    Books,
    /// A running edge from socket to acknowledgement, relative to a bare publisher and to one without a journal; its start.
    Edge,
    /// Latency of a running edge at fixed rates, and what an event costs the broker.
    Latency,
    /// Memory of an edge with five venues.
    Venues,
    /// Changes of an adapter while a venue sends: pauses, trades, books, memory.
    Swaps,
    /// Wire forms: bytes per message, time to encode and to decode.
    Wire,
    /// Bytes of a recorded order-book update in the broker and in hot.
    Deltas,
    /// Ways to publish events together: packed messages, atomic batches and fast ingest.
    Batches,
    /// A running central from a filled stream to rows, relative to the engine's limit.
    Ingest,
    /// CPU time of audits and of the ledger.
    Ledger,
    /// Replication with verification, relative to the engine's own copy.
    Replication,
    /// The integrity report over a month of windows.
    Report,
    /// Edge, broker, central and engine together at a fixed rate, and whether a backlog grows. Only if asked for: it takes the whole machine.
    Sustained,
    /// Bytes of a row in hot and cold, by type and column, and of a day; time to read. Only if asked for: it takes a minute.
    Storage,
    /// The whole stack at rest: merges, queries and CPU time of the engine. Only if asked for: it takes minutes.
    Rest,
    /// An edge with 1,000 instruments: CPU time, memory, gaps. Only if asked for: it takes minutes.
    Scale,
}

/// Measures the given parts; by default all but `sustained`, `storage`, `rest` and `scale`.
#[derive(Debug, Parser)]
#[command(name = "marketprism-bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    #[command(flatten)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Measures this revision and another one in turn; fails when a figure got more than 5 % worse.
    Compare {
        revision: String,
        /// Runs of each revision.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
        pairs: u16,
        /// Parts and options, as without `compare`; both revisions must know them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Figures of earlier runs on this machine.
    History {
        /// Part of the figures' names.
        #[arg(default_value = "")]
        text: String,
    },
}

#[derive(Debug, clap::Args)]
struct Measurement {
    /// Parts to measure.
    parts: Vec<Part>,
    /// Trades sent through the edge and through central.
    #[arg(long, default_value_t = 300_000)]
    trades: u64,
    /// Changes of an adapter.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(4..))]
    swaps: u64,
    /// Frames a second that the venue sends meanwhile, if this machine carries them.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    frames_per_second: u64,
    /// Trades a second of `sustained`.
    #[arg(long, default_value_t = 150_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    events_per_second: u64,
    /// Rows copied from hot to cold.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Minutes of `rest` and `scale`.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { command, measurement } = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let is_good = match command {
        None => {
            let figures = measure(measurement).await?;
            let line = std::env::args().collect::<Vec<_>>().join(" ");
            let is_good = figures.print(&line, &mut out)?;
            history::append(&figures, &line)?;
            is_good
        }
        Some(BenchCommand::Compare { revision, pairs, arguments }) => {
            compare::run(&revision, usize::from(pairs), &arguments, &mut out)?
        }
        Some(BenchCommand::History { text }) => {
            history::print(&text, &mut out)?;
            true
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(measurement: Measurement) -> Result<Report> {
    let Measurement { parts, trades, swaps, frames_per_second, events_per_second, rows, minutes } =
        measurement;
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    let mut figures = Report::default();
    if wanted(Part::Adapter) {
        tokio::task::block_in_place(|| adapter::measure(&mut figures))?;
    }
    if wanted(Part::Books) {
        tokio::task::block_in_place(|| books::measure(&mut figures))?;
    }
    if wanted(Part::Edge) {
        edge::measure(&mut figures, trades).await?;
    }
    if wanted(Part::Latency) {
        latency::measure(&mut figures).await?;
    }
    if wanted(Part::Venues) {
        venues::measure(&mut figures).await?;
    }
    if wanted(Part::Swaps) {
        swaps::measure(&mut figures, swaps, frames_per_second).await?;
    }
    if wanted(Part::Wire) {
        tokio::task::block_in_place(|| wire::measure(&mut figures))?;
    }
    if wanted(Part::Deltas) {
        deltas::measure(&mut figures).await?;
    }
    if wanted(Part::Batches) {
        batches::measure(&mut figures, trades).await?;
    }
    if wanted(Part::Ingest) {
        ingest::measure(&mut figures, trades).await?;
    }
    if wanted(Part::Ledger) {
        ledger::measure(&mut figures, trades).await?;
    }
    if wanted(Part::Replication) {
        replication::measure(&mut figures, rows).await?;
    }
    if wanted(Part::Report) {
        report::measure(&mut figures).await?;
    }
    if parts.contains(&Part::Sustained) {
        sustained::measure(&mut figures, events_per_second).await?;
    }
    if parts.contains(&Part::Storage) {
        storage::measure(&mut figures).await?;
    }
    if parts.contains(&Part::Rest) {
        rest::measure(&mut figures, minutes).await?;
    }
    if parts.contains(&Part::Scale) {
        scale::measure(&mut figures, minutes).await?;
    }
    Ok(figures)
}
