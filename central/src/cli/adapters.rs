//! `adapters`: push, list, promote, rollback, status, delete.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use marketprism_schema::{AdapterVersion, COMPONENT_BYTES_MAX};
use marketprism_service::{Exit, read_file};

use super::reports::{JsonArgs, print};
use crate::adapters::{
    AdapterBucket, AdapterStatus, AdapterUsage, EdgeSelection, Heartbeats, PromotedVersion, Promotion,
    PromotionEnd, PromotionTimes, RollbackResult, StoredAdapter, Wishes, adapter_status, adapter_text,
    promoted_versions, roll_back,
};
use crate::broker::Broker;
use crate::config::Config;
use crate::limits;
use crate::time::read_duration;

#[derive(Debug, Subcommand)]
pub enum AdaptersCommand {
    /// Store a signed component at the broker. Refused: without a signature of `adapters.trusted_keys`, or damaged.
    Push {
        /// Component, signed with `marketprism-edge adapter sign`.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the stored versions, and where each is wanted.
    List(JsonArgs),
    /// Bring a version to edges: one first, then the others. Stops at the first that refuses it, rolls it back or does not answer.
    Promote(PromoteArgs),
    /// Return to the version from before the promotion, all selected edges at once; all edges if none is given.
    Rollback(RollbackArgs),
    /// Show the wanted and the running version of each edge.
    Status(JsonArgs),
    /// Delete stored versions. Refused: versions that an edge runs or wants, or that a rollback brings back.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// NAME@VERSION, NAME@DIGEST or DIGEST; 8 digits of it do.
    #[arg(value_name = "VERSION", required_unless_present = "unused")]
    versions: Vec<String>,
    /// Every version that is not in use.
    #[arg(long, conflicts_with = "versions")]
    unused: bool,
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// NAME@VERSION, NAME@DIGEST or DIGEST; 8 digits of it do.
    #[arg(value_name = "VERSION")]
    version: String,
    #[command(flatten)]
    selection: EdgeSelection,
    /// Time for which the first edge must stay on the version, past its probation, before the next one gets it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = read_duration)]
    soak: Duration,
    /// After the first edge, all edges of a region at once.
    #[arg(long)]
    by_region: bool,
    /// Kind of difference to the running version that does not stop the change: a data type, `commands` or `notes`; may be given several times.
    #[arg(long = "accept", value_name = "KIND")]
    accepted: Vec<String>,
    #[command(flatten)]
    waits: WaitArgs,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Name of the adapter, without version.
    #[arg(value_name = "NAME")]
    adapter: String,
    #[command(flatten)]
    selection: EdgeSelection,
    #[command(flatten)]
    waits: WaitArgs,
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Longest wait for a sign of an edge: its next heartbeat, and that it has the component.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = read_duration)]
    answer: Duration,
    /// Longest wait until the version is active at an edge, shadow and probation included.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = read_duration)]
    within: Duration,
}

impl WaitArgs {
    const fn times(&self, soak: Duration) -> PromotionTimes {
        PromotionTimes { soak, answer: self.answer, active: self.within }
    }
}

pub async fn execute(config: &Config, command: AdaptersCommand) -> anyhow::Result<Exit> {
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats, limits::BROKER_CONNECT_WAIT).await?;
    let done = run(config, &broker, command).await;
    done.map_err(|error| broker.explain(error))
}

async fn run(config: &Config, broker: &Broker, command: AdaptersCommand) -> anyhow::Result<Exit> {
    let replicas = config.replicas();
    let wishes = Wishes::open(broker, replicas).await?;
    let open = || AdapterBucket::open(broker, replicas, config.adapters.bucket_max_bytes);
    match command {
        AdaptersCommand::Delete(args) => {
            let bucket = open().await?;
            // Before the uses: what is pushed and promoted meanwhile is not among them.
            let mut chosen = choose(&bucket, &args).await?;
            let usage = AdapterUsage::read(Heartbeats(broker), &wishes).await?;
            chosen.retain(|one| !args.unused || usage.of(one).is_empty());
            usage.check_unused(&chosen)?;
            for adapter in &chosen {
                bucket.delete(adapter).await?;
                say(&format!("deleted: {}", adapter_text(adapter)))?;
            }
        }
        AdaptersCommand::Push { file } => {
            let bucket = open().await?;
            let usage = AdapterUsage::read(Heartbeats(broker), &wishes).await?;
            let component = read_file(&file, COMPONENT_BYTES_MAX);
            let component = component.with_context(|| file.display().to_string())?;
            let pushed = bucket.push(&component, &config.adapters.verifying_keys(), &usage).await;
            let (adapter, is_new) = pushed.with_context(|| file.display().to_string())?;
            let AdapterVersion { version, digest } = &adapter.version;
            let what = if is_new { "stored" } else { "already there" };
            say(&format!(
                "{what}: {}@{version}\nsha256:{digest}\nsigned by {}",
                adapter.adapter, adapter.signer
            ))?;
        }
        AdaptersCommand::List(args) => {
            let bucket = open().await?;
            let versions = promoted_versions(bucket.list().await?, &wishes.all().await?);
            print(args.json, &versions, |_| list_text(&versions))?;
        }
        AdaptersCommand::Status(args) => {
            let reports = Heartbeats(broker).read().await?;
            let rows = adapter_status(&reports, &wishes.all().await?);
            print(args.json, &rows, |_| status_text(&rows))?;
        }
        AdaptersCommand::Promote(args) => {
            ensure!(!args.selection.is_empty(), "no edge is selected (allowed: --edge, --region, --all)");
            let bucket = open().await?;
            let promotion = Promotion {
                heartbeats: &Heartbeats(broker),
                wishes: &wishes,
                adapter: bucket.find(&args.version).await?,
                selection: args.selection,
                times: args.waits.times(args.soak),
                accept: args.accepted,
                by_region: args.by_region,
            };
            let end = promotion.run(print_progress).await?;
            say(&end_text(&end))?;
            return Ok(if matches!(end, PromotionEnd::Done { .. }) { Exit::SUCCESS } else { Exit::FAILED });
        }
        AdaptersCommand::Rollback(args) => {
            let heartbeats = Heartbeats(broker);
            let times = args.waits.times(Duration::ZERO);
            let results = roll_back((&heartbeats, &wishes), &args.adapter, &args.selection, times).await?;
            for RollbackResult { edge, problem } in &results {
                say(&format!("{edge}: {}", problem.as_deref().unwrap_or("runs the earlier version")))?;
            }
            let is_done = results.iter().all(|result| result.problem.is_none());
            return Ok(if is_done { Exit::SUCCESS } else { Exit::FAILED });
        }
    }
    Ok(Exit::SUCCESS)
}

/// The given versions, or all of them.
async fn choose(bucket: &AdapterBucket, args: &DeleteArgs) -> anyhow::Result<Vec<StoredAdapter>> {
    if args.unused {
        return bucket.list().await;
    }
    let mut chosen = Vec::new();
    for version in &args.versions {
        chosen.push(bucket.find(version).await?);
    }
    Ok(chosen)
}

fn say(text: &str) -> anyhow::Result<()> {
    marketprism_service::print(text).context("cannot write the answer")
}

fn print_progress(text: &str) {
    if let Err(error) = writeln!(std::io::stderr().lock(), "{text}") {
        tracing::debug!(%error, "cannot write to standard error");
    }
}

fn end_text(end: &PromotionEnd) -> String {
    let names = |edges: &[String]| if edges.is_empty() { "none".to_owned() } else { edges.join(", ") };
    match end {
        PromotionEnd::Done { active, offline } if offline.is_empty() => format!("active: {}", names(active)),
        PromotionEnd::Done { active, offline } => {
            format!("active: {}\noffline, follow when they come back: {}", names(active), names(offline))
        }
        PromotionEnd::Stopped { edge, cause, active } => format!(
            "STOPPED at edge {edge}: {cause}\nkeep the version (take it back with `adapters rollback`): {}",
            names(active)
        ),
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    format!("{table}\n")
}

fn list_text(versions: &[PromotedVersion]) -> String {
    let rows = versions.iter().map(|PromotedVersion { stored, promoted }| {
        let AdapterVersion { version, digest } = &stored.version;
        let pushed = stored.pushed.map(|time| time.to_string()).unwrap_or_default();
        let (bytes, signer) = (stored.bytes.to_string(), short(&stored.signer).to_owned());
        [
            stored.adapter.clone(),
            version.clone(),
            short(digest).to_owned(),
            bytes,
            signer,
            pushed,
            promoted.join(", "),
        ]
    });
    table(["adapter", "version", "digest", "bytes", "signer", "pushed", "promoted"], rows.collect())
}

fn status_text(rows: &[AdapterStatus]) -> String {
    let shown = |version: &AdapterVersion| format!("{}+{}", version.version, short(&version.digest));
    let rows = rows.iter().map(|row| {
        let wanted = row.wanted.as_ref().map_or_else(|| "-".to_owned(), shown);
        let cause = row.cause.clone().unwrap_or_default();
        let (edge, region, adapter) = (row.edge.clone(), row.region.clone(), row.adapter.clone());
        [edge, region, adapter, wanted, shown(&row.active), row.state.clone(), cause]
    });
    table(["edge", "region", "adapter", "wanted", "active", "state", "cause"], rows.collect())
}
