//! Starting and stopping a simulator.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::SimConfig;
use crate::engine;
use crate::exchange::{self, Exchange};
use crate::fault::Faults;
use crate::recording::{Recording, RecordingError};
use crate::server::{Service, TlsError, acceptor, run_listener};
use crate::simulation::{ListenerControl, Settings, Simulation};
use crate::venue;

const STOP_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("exchange {given}: unknown, allowed: {allowed:?}")]
    UnknownExchange { given: String, allowed: &'static [&'static str] },
    #[error("listening on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// A running simulator. Drop stops it without waiting.
pub struct Sim {
    simulation: Arc<Simulation>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Deref for Sim {
    type Target = Simulation;

    fn deref(&self) -> &Simulation {
        &self.simulation
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sim {
    pub async fn start(config: SimConfig) -> Result<Sim, SimError> {
        let faults = Arc::new(Faults::default());
        let exchanges = exchanges(&config, &faults)?;
        let tls = config.tls_dir.as_deref().map(acceptor).transpose()?;
        let listen = |source| SimError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (listener_control, listener_watch) = ListenerControl::new();
        let settings = Settings {
            rate: config.rate,
            trade_percent: config.trade_percent.min(100),
            burst_every_ms: config.burst_every_ms,
            burst_frames: config.burst_frames,
            event_ms: config.event_ms,
        };
        let (tls, ca_file) = tls.unzip();
        let place = (address, ca_file);
        let simulation = Arc::new(Simulation::new(exchanges, faults, settings, listener_control, place));
        if config.start_paused {
            simulation.pause();
        }
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let service = Service {
            simulation: simulation.clone(),
            next_connection: Arc::new(AtomicU64::new(0)),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(run_listener(listener, address, tls, service, listener_watch));
        tasks.spawn(engine::run(simulation.clone(), config.seed, stop.clone()));
        for exchange in simulation.exchanges().iter().filter(|e| e.recording.is_some()) {
            let (exchange, paused, stop) = (exchange.clone(), simulation.paused.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = exchange::play(exchange, paused) => {}
                }
            });
        }
        Ok(Sim { simulation, tasks, stop })
    }

    pub fn simulation(&self) -> Arc<Simulation> {
        self.simulation.clone()
    }

    /// Closes all connections with code 1001 and waits up to 5 s for all tasks.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "tasks did not end in time");
        }
    }
}

fn exchanges(config: &SimConfig, faults: &Arc<Faults>) -> Result<Vec<Arc<Exchange>>, SimError> {
    let names: Vec<String> = if config.exchanges.is_empty() {
        venue::EXCHANGES.iter().map(|name| (*name).to_owned()).collect()
    } else {
        config.exchanges.clone()
    };
    let load = |file: &PathBuf| Recording::load(file, config.shift_to_now, config.speed_percent);
    let mut recordings = config.recordings.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for name in names {
        let Some(venue) = venue::by_exchange(&name) else {
            return Err(SimError::UnknownExchange { given: name, allowed: &venue::EXCHANGES });
        };
        let belongs = |recording: &Recording| {
            config.exchanges.len() == 1 || recording.urls.iter().any(|url| venue.owns_url(url))
        };
        let recording = recordings.iter().position(belongs).map(|at| recordings.remove(at));
        all.push(Arc::new(Exchange::new(venue, config, faults.clone(), recording)));
    }
    match recordings.pop() {
        Some(Recording { file, .. }) => Err(RecordingError::UnknownExchange { path: file }.into()),
        None => Ok(all),
    }
}
