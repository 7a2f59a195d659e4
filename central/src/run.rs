//! `run`: provisioning, the tasks of the process, and the order in which they stop.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use marketprism_schema::{Carries, DatabaseKind};
use marketprism_service::{ServiceState, cancel_on_signal, tell_service_manager};
use marketprism_traces::TraceExport;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config::{Config, Partition};
use crate::context::CentralContext;
use crate::coverage::Coverage;
use crate::failing_views::FailingViews;
use crate::ingest;
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::recorded_losses::RecordedLosses;
use crate::role::Role;
use crate::server_clock::ServerClock;
use crate::shared_answer::SharedAnswer;
use crate::status::Status;
use crate::storage::{Storage, StorageError};
use crate::{fleet, http, init, ledger, limits, replicator};

/// Name and version in traces.
pub const PROGRAM: (&str, &str) = ("marketprism-central", env!("CARGO_PKG_VERSION"));

/// Works until a signal comes. Fails on what retrying cannot fix: a difference that cannot be changed in place, a port in
/// use, a broken task.
pub async fn run(config: Config, role: Role) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut around: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let signalled = stop.clone();
    around.spawn(async move { match cancel_on_signal(move || signalled.cancel()).await? {} });
    // Bound before any lease is taken: see `lease`. An address that the machine does not have yet is waited for.
    let address = config.http.address(role);
    let listener = tokio::select! {
        listener = http::bind(address, &config.http) => listener?,
        () = stop.cancelled() => return Ok(()),
    };
    tracing::info!(%address, ?role, "serving health and metrics");
    let broker = Broker::start(&config.nats).await?;
    let name = process_name(listener.listener.local_addr().context("the listener has no address")?);
    let traces = TraceExport::start(&config.traces, PROGRAM, (&name, None))?;
    let streams: Vec<_> = config
        .streams
        .iter()
        .filter(|s| role.takes_messages() && s.settings.carries == Carries::Events)
        .cloned()
        .collect();
    let sides = [(DatabaseKind::Hot, role.takes_messages()), (DatabaseKind::Cold, role.replicates())];
    let sides = sides.into_iter().filter(|(_, is_ours)| *is_ours).map(|(side, _)| part(side));
    let partitions = streams.iter().flat_map(Partition::all).map(Partition::name);
    let parts = partitions.chain(sides.map(str::to_owned));
    let metrics = Metrics::new().context("cannot register the metrics")?;
    expect_series(&metrics);
    for stream in config.streams.iter().filter(|_| role.takes_messages()) {
        metrics.stream_partitions.with_label_values(&[stream.settings.name]).set(stream.partitions.into());
    }
    let shared = Arc::new(CentralContext {
        leases: Leases::new(&broker, &config, &name),
        broker,
        storage: Storage::hot(&config.clickhouse)?,
        cold: Storage::cold(&config.clickhouse)?,
        hot_clock: ServerClock::default(),
        cold_clock: ServerClock::default(),
        marks_of_cold: SharedAnswer::default(),
        losses: RecordedLosses::default(),
        failing_views: FailingViews::default(),
        metrics,
        status: Status::starting(parts),
        coverage: Coverage::default(),
        fleet: Arc::default(),
        config,
    });

    // Health is served until the last batch is flushed, so it does not stop with the workers.
    let last = CancellationToken::new();
    around.spawn(http::serve(listener, Arc::clone(&shared), last.clone()));
    around.spawn(watch_edges(Arc::clone(&shared), stop.clone()));
    // Broker and ClickHouse may be unreachable: what waits for this service, as the start of the machine does, must not wait for them.
    tell_service_manager(ServiceState::Ready);
    around.spawn(notify_alive());

    let outcome = match provision_hot(&shared, role, &stop).await {
        Ok(()) => {
            around.spawn(ingest::watch(Arc::clone(&shared), stop.clone()));
            around.spawn(ingest::read_history(Arc::clone(&shared), stop.clone()));
            work(&shared, role, streams, &stop, &mut around).await
        }
        Err(error) => Err(error),
    };
    tell_service_manager(ServiceState::Stopping);
    stop.cancel();
    last.cancel();
    if timeout(limits::CLOSE_DEADLINE, shared.broker.client.flush()).await.is_err() {
        tracing::warn!("the last acknowledgements may be unsent; their messages would be redelivered");
    }
    around.shutdown().await;
    traces.end().await;
    tracing::info!("stopped");
    outcome
}

/// Tells the service manager that the runtime goes on; each task has deadlines of its own.
async fn notify_alive() -> anyhow::Result<()> {
    loop {
        tell_service_manager(ServiceState::Alive);
        sleep(limits::ALIVE_EVERY).await;
    }
}

/// Ends with the process only: without it silent edges go unnoticed.
async fn watch_edges(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    fleet::watch_edges(&shared.fleet, &shared.broker, &shared.metrics, &stop).await;
    Ok(())
}

fn expect_series(metrics: &Metrics) {
    fleet::expect_series(metrics);
    ingest::expect_series(metrics);
    ledger::expect_series(metrics);
    replicator::expect_series(&metrics.replication);
}

/// Host and listening address: unique among living processes.
fn process_name(address: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{address}", host.trim())
}

/// Provisions hot for a role that needs it, before the workers start.
async fn provision_hot(shared: &CentralContext, role: Role, stop: &CancellationToken) -> anyhow::Result<()> {
    if role.takes_messages() { provision(shared, DatabaseKind::Hot, stop).await } else { Ok(()) }
}

/// Provisions cold, which may wait for its server, then replicates. Ingest does not wait for it.
async fn replicate(shared: Arc<CentralContext>, stop: CancellationToken) -> anyhow::Result<()> {
    provision(&shared, DatabaseKind::Cold, &stop).await?;
    replicator::replicate(shared, stop).await
}

/// Runs the workers until all have stopped. If one ends early, the rest is stopped.
async fn work(
    shared: &Arc<CentralContext>,
    role: Role,
    streams: Vec<crate::config::Stream>,
    stop: &CancellationToken,
    around: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    for stream in streams {
        for partition in Partition::all(&stream) {
            workers.spawn(ingest::own_partition(Arc::clone(shared), stream.clone(), partition, stop.clone()));
        }
    }
    if role.takes_messages() {
        workers.spawn(ledger::run(Arc::clone(shared), stop.clone()));
    }
    if role.replicates() {
        workers.spawn(replicate(Arc::clone(shared), stop.clone()));
    }
    shared.metrics.is_running.set(1);
    let mut outcome = Ok(());
    loop {
        let ended = tokio::select! {
            ended = workers.join_next(), if !workers.is_empty() => match ended {
                Some(ended) => ended,
                None => break,
            },
            () = stop.cancelled(), if workers.is_empty() => break,
            Some(ended) = around.join_next() => ended,
        };
        let ended = flatten(ended);
        if ended.is_err() && outcome.is_ok() {
            outcome = ended;
        }
        stop.cancel();
    }
    shared.metrics.is_running.set(0);
    outcome
}

fn flatten(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended.unwrap_or_else(|error| Err(anyhow!("a task panicked: {error}")))
}

/// Name of the health entry of one database.
const fn part(side: DatabaseKind) -> &'static str {
    match side {
        DatabaseKind::Hot => "layout",
        DatabaseKind::Cold => "cold layout",
    }
}

/// Provisions one database, waiting for broker and ClickHouse, and for tables that keep rows long enough. Returns early on `stop`.
async fn provision(
    shared: &CentralContext,
    side: DatabaseKind,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = limits::BACKOFF;
    while !stop.is_cancelled() {
        let tried = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            tried = provision_once(shared, side) => tried?,
        };
        let Some(reason) = tried else {
            shared.status.clear(part(side));
            return Ok(());
        };
        let side = part(side);
        tracing::warn!(side, reason, "streams and tables cannot be used yet; retrying");
        shared.status.fail(side, reason);
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(backoff.pause()) => {}
        }
    }
    Ok(())
}

/// Why the database cannot be used yet, if so. Fails on a difference that cannot be changed in place, or a database of another program
/// version: waiting does not help.
async fn provision_once(shared: &CentralContext, side: DatabaseKind) -> anyhow::Result<Option<String>> {
    let ensured = init::ensure(&shared.config, &shared.broker, &shared.leases, &[side], false).await;
    let report = match ensured {
        Ok(report) => report,
        Err(error) => return Ok(Some(format!("{error:#}"))),
    };
    report.refuse_immutable()?;
    match keeps_less(shared, side).await {
        Ok(None) => {}
        Ok(less) => return Ok(less),
        Err(error) => return Ok(Some(format!("cannot read how long tables keep rows: {error}"))),
    }
    for (what, difference) in report.differences() {
        tracing::warn!(what, %difference, "differs from the configuration; run `init --apply` to change it");
    }
    Ok(None)
}

/// Both sides keep rows long enough for the replicator, hot for ingest and ledger.
async fn keeps_less(shared: &CentralContext, side: DatabaseKind) -> Result<Option<String>, StorageError> {
    let of_hot = init::hot_keeps_less(&shared.config, &shared.storage).await?;
    match side {
        DatabaseKind::Cold if of_hot.is_none() => init::cold_keeps_less(&shared.config, &shared.cold).await,
        _ => Ok(of_hot),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Gauges that only a holder of a lease, or a central with certificates or an answer of its servers, can set, and series of exchanges that hot holds.
    const UNKNOWN_AT_FIRST: [&str; 18] = [
        "marketprism_certificate_expiry_seconds",
        "marketprism_certificate_lifetime_seconds",
        "marketprism_broker_to_hot_seconds",
        "marketprism_central_edge_silent",
        "marketprism_edge_to_hot_seconds",
        "marketprism_venue_to_hot_seconds",
        "marketprism_central_confirmed_sequence",
        "marketprism_central_streams_held",
        "marketprism_central_stream_partitions",
        "marketprism_central_clock_ahead_seconds",
        "marketprism_ledger_windows",
        "marketprism_cold_replication_lag_minutes",
        "marketprism_cold_corrections_pending",
        "marketprism_cold_replication_is_failing",
        "marketprism_cold_windows_unsound",
        "nats_jetstream_consumer_num_pending",
        "nats_jetstream_consumer_num_ack_pending",
        "nats_jetstream_consumer_num_redelivered",
    ];

    #[test]
    fn every_counter_is_at_0_before_its_first_event_and_every_metric_is_in_the_readme() {
        let metrics = Metrics::new().unwrap();
        expect_series(&metrics);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let readme = include_str!("../README.md").split("## Metrics").nth(1).unwrap();
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let documented: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
        let exposed: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let missing: BTreeSet<&str> = documented.difference(&exposed).copied().collect();
        assert_eq!(missing, UNKNOWN_AT_FIRST.into_iter().collect(), "not exposed at the start");
        assert_eq!(
            exposed.difference(&documented).collect::<Vec<_>>(),
            [] as [&&str; 0],
            "not in the README"
        );
        let samples =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let samples: Vec<(&str, &str)> = samples.collect();
        let is_counter = |name: &str| name.ends_with("_total") || name.ends_with("_count");
        let is_set =
            |(series, value): &(&str, &str)| is_counter(series.split('{').next().unwrap()) && *value != "0";
        assert_eq!(samples.iter().copied().find(is_set), None);
        for series in [
            "marketprism_central_lost_messages_total{cause=\"retention\",stream=\"MARKET_DATA\"}",
            "marketprism_central_dead_letters_total{reason=\"price\"}",
            "marketprism_central_dead_letters_total{reason=\"audit\"}",
            "marketprism_central_retries_total{table=\"trades\"}",
            "marketprism_cold_windows_total{state=\"mismatch\",table=\"orderbooks\"}",
        ] {
            assert!(samples.contains(&(series, "0")), "{series} is not in {text}");
        }
    }
}
