//! `run`: everything that works side by side, and the order in which it stops.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use marketprism_schema::Carries;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config::Config;
use crate::coverage::Coverage;
use crate::ingest::{Backoff, Shared, Worker, poll};
use crate::lease::Leases;
use crate::metrics::Metrics;
use crate::role::Role;
use crate::status::Status;
use crate::storage::Storage;
use crate::{coverage, http, init, limits, shutdown};

/// Part of the status that says whether streams and tables are laid out.
const LAYOUT: &str = "layout";

/// Takes messages in until a signal comes. Returns an error when something cannot go on: a difference that cannot be changed in
/// place, a port in use, a broken task.
pub async fn run(config: Config, role: Role) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    // The address is taken before any lease: see `lease`.
    let address = config.http.address(role);
    let listener = http::bind(address).await?;
    tracing::info!(%address, ?role, "health and metrics are served");
    let broker = Broker::start(&config.nats).await?;
    let name = process_name(listener.local_addr().context("the listener has no address")?);
    let streams: Vec<_> = config
        .streams
        .iter()
        .filter(|s| role.takes_messages() && s.settings.carries == Carries::Events)
        .cloned()
        .collect();
    let parts = streams.iter().map(|s| s.settings.name).chain([LAYOUT]).map(str::to_owned);
    let shared = Arc::new(Shared {
        leases: Leases::new(&broker, config.replicas(), &name),
        broker,
        storage: Storage::hot(&config.clickhouse),
        cold: Storage::cold(&config.clickhouse),
        metrics: Metrics::new().context("cannot register the metrics")?,
        status: Status::starting(parts),
        coverage: Coverage::default(),
        config,
    });

    let mut around: JoinSet<anyhow::Result<()>> = JoinSet::new();
    around.spawn(shutdown::watch(stop.clone()));
    // Health is answered until the last batch is flushed, so it does not stop with the workers.
    let last = CancellationToken::new();
    around.spawn(http::serve(listener, Arc::clone(&shared), last.clone()));

    let outcome = tokio::select! {
        laid_out = lay_out(&shared, &stop) => match laid_out {
            Ok(()) => {
                around.spawn(poll(Arc::clone(&shared), stop.clone()));
                around.spawn(coverage::read_history(Arc::clone(&shared), stop.clone()));
                work(&shared, streams, &stop, &mut around).await
            }
            Err(error) => Err(error),
        },
    };
    stop.cancel();
    last.cancel();
    if timeout(limits::CLOSE_DEADLINE, shared.broker.client.flush()).await.is_err() {
        tracing::warn!("the last acknowledgements may not have left; their messages are delivered again");
    }
    around.shutdown().await;
    tracing::info!("stopped");
    outcome
}

/// Host and listening address: no other living process has both.
fn process_name(address: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{address}", host.trim())
}

/// Lays out streams and tables, waiting for broker and ClickHouse as long as it takes.
async fn lay_out(shared: &Shared, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut backoff = Backoff::new();
    while !stop.is_cancelled() {
        let tried = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            tried = init::ensure(&shared.config, &shared.broker, &shared.leases, false) => tried,
        };
        match tried {
            Ok(report) => {
                report.refuse_immutable()?;
                for (what, difference) in report.differences() {
                    tracing::warn!(what, %difference, "differs from the configuration; `init --apply` changes it");
                }
                shared.status.clear(LAYOUT);
                return Ok(());
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::warn!(reason, "streams and tables cannot be laid out yet; trying again");
                shared.status.fail(LAYOUT, reason);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(backoff.pause()) => {}
        }
    }
    Ok(())
}

/// Runs the workers until all have stopped. What ends early ends the rest.
async fn work(
    shared: &Arc<Shared>,
    streams: Vec<crate::config::Stream>,
    stop: &CancellationToken,
    around: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    for stream in streams {
        workers.spawn(Worker::new(Arc::clone(shared), stream).run(stop.clone()));
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
    ended.unwrap_or_else(|error| Err(anyhow!("a task broke off: {error}")))
}
