//! `ab-latency`.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use marketprism_schema::{SUBJECT_FILTER_ALLOWED, SubjectFilter};
use marketprism_service::Exit;

use super::progress::{ProgressLine, write};
use super::signals::stop_on_signal;
use crate::ab_latency::{AbLatency, LatencyPeriod, WayLatency};
use crate::broker::Broker;
use crate::config::Config;
use crate::limits;
use crate::report::VerifyProgress;
use crate::time::read_duration;

#[derive(Debug, Args)]
pub struct AbLatencyArgs {
    /// Events that are compared: a filter of their subjects. The edges must mirror them (`mirror_to_core.subjects`).
    #[arg(long, value_name = "FILTER", default_value = ">")]
    subject: String,
    /// Length of the measurement. Ctrl-C or SIGTERM ends it earlier, with the figures so far.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = read_duration)]
    length: Duration,
    /// Length of a period with figures of its own; periods begin at whole multiples of it.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = read_duration)]
    every: Duration,
    /// Print JSON lines, one a period.
    #[arg(long)]
    json: bool,
}

pub async fn execute(config: &Config, args: &AbLatencyArgs) -> anyhow::Result<Exit> {
    let filter = SubjectFilter::parse(&args.subject)
        .ok_or_else(|| anyhow!("--subject is {:?} (allowed: {SUBJECT_FILTER_ALLOWED})", args.subject))?;
    let second = Duration::from_secs(1);
    ensure!(args.length >= second && args.every >= second, "--for and --every allow 1s or more");
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats, limits::BROKER_CONNECT_WAIT).await?;
    let (stop, _signals) = stop_on_signal();
    let progress = ProgressLine::on_terminal("comparing");
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (doing, total) = (format!("comparing {}", args.subject), millis(args.length));
    let on_progress =
        |elapsed| progress.show(&VerifyProgress { doing: doing.clone(), done: millis(elapsed), total });
    let run = AbLatency { broker: &broker, filter, length: args.length, every: args.every, stop };
    let compared = run
        .run(&on_progress, |period| {
            progress.end();
            let text = if args.json { serde_json::to_string(period)? } else { text(period) };
            marketprism_service::print(&text).context("cannot write the figures")
        })
        .await;
    let pairs = compared.map_err(|error| broker.explain(error))?;
    if pairs == 0 {
        write(
            "no event came on both ways: do edges mirror these subjects (`mirror_to_core.subjects`), and do events flow?\n",
        );
    }
    Ok(if pairs == 0 { Exit::FAILED } else { Exit::SUCCESS })
}

fn text(period: &LatencyPeriod) -> String {
    let LatencyPeriod { from, to, pairs, core_only, jetstream_only, jetstream_first, .. } = period;
    let ms = |us: Option<u64>| us.map_or("-".to_owned(), |us| format!("{:.2}", us as f64 / 1_000.0));
    let line = |name: &str, way: &WayLatency| {
        let [p50, p90, p95, p99] = [way.p50_us, way.p90_us, way.p95_us, way.p99_us].map(ms);
        format!("  {name:<18} p50 {p50:>8}  p90 {p90:>8}  p95 {p95:>8}  p99 {p99:>8} ms\n")
    };
    let mut text = format!(
        "{from} to {to}: {pairs} events on both ways, {core_only} on core NATS only, {jetstream_only} on JetStream only\n"
    );
    text.push_str(&line("core NATS", &period.core));
    text.push_str(&line("JetStream", &period.jetstream));
    text.push_str(&line("JetStream behind", &period.jetstream_behind));
    if period.unpaired > 0 {
        let count = period.unpaired;
        text.push_str(&format!(
            "  {count} events were given up within a minute: too many waited for the other way\n"
        ));
    }
    if *jetstream_first > 0 {
        text.push_str(&format!("  JetStream was first for {jetstream_first} events\n"));
    }
    if period.before_receipt > 0 {
        let count = period.before_receipt;
        text.push_str(&format!(
            "  {count} events arrived before their receipt: the clocks of edge and reader differ\n"
        ));
    }
    text
}
