//! Start and stop of a simulator, and generation of its markets at the configured rate.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::SimConfig;
use crate::delivery::Counters;
use crate::exchange::{self, Exchange};
use crate::fault::Faults;
use crate::recording::Recording;
use crate::server::{Service, acceptor, run_listener};
use crate::simulation::{ListenerControl, Settings, Simulation};
use crate::{clock, venue};

const STOP_WITHIN: Duration = Duration::from_secs(5);

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
    pub async fn start(config: SimConfig) -> anyhow::Result<Sim> {
        let faults = Arc::new(Faults::default());
        let exchanges = exchanges(&config, &faults)?;
        let tls = config.tls_dir.as_deref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listening on {}", config.listen))?;
        let address = listener.local_addr()?;
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
        tasks.spawn(generate_until_stopped(simulation.clone(), config.seed, stop.clone()));
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

    /// Closes all connections with code 1001 and waits up to 5 s for all tasks.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "tasks did not end in time");
        }
    }
}

fn exchanges(config: &SimConfig, faults: &Arc<Faults>) -> anyhow::Result<Vec<Arc<Exchange>>> {
    let names: Vec<String> = if config.exchanges.is_empty() {
        venue::EXCHANGES.iter().map(|name| (*name).to_owned()).collect()
    } else {
        config.exchanges.clone()
    };
    let load = |file: &PathBuf| Recording::load(file, config.shift_to_now, config.speed_percent);
    let mut recordings = config.recordings.iter().map(load).collect::<anyhow::Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for name in names {
        let venue = venue::by_exchange(&name)
            .with_context(|| format!("exchange {name}: unknown, allowed: {:?}", venue::EXCHANGES))?;
        let belongs = |recording: &Recording| {
            config.exchanges.len() == 1 || recording.urls.iter().any(|url| venue.owns_url(url))
        };
        let recording = recordings.iter().position(belongs).map(|at| recordings.remove(at));
        all.push(Arc::new(Exchange::new(venue, config, faults.clone(), recording)));
    }
    match recordings.pop() {
        Some(Recording { file, .. }) => {
            bail!("recording {}: no exchange is known for its addresses, name one", file.display())
        }
        None => Ok(all),
    }
}

const TICK: Duration = Duration::from_millis(5);
const BUSY_MAX: Duration = Duration::from_millis(20);
/// A larger backlog of frames, in time of the rate, is dropped and counted as behind.
const OWED_MAX_MS: u64 = 250;
/// Frames generated per exchange and lock.
const SLICE: u64 = 32;
/// Millionths of a frame, so that any rate is exact over time.
const FRAME: u64 = 1_000_000;

struct FrameBudget {
    owed: u64,
    paid_until: Instant,
    next_burst: Instant,
}

impl FrameBudget {
    fn new() -> FrameBudget {
        FrameBudget { owed: 0, paid_until: Instant::now(), next_burst: Instant::now() }
    }

    fn accrue(&mut self, settings: Settings) {
        let now = Instant::now();
        let micros = u64::try_from(now.duration_since(self.paid_until).as_micros()).unwrap_or(u64::MAX);
        self.paid_until = now;
        self.owed = self.owed.saturating_add(settings.rate.saturating_mul(micros));
        if settings.burst_every_ms > 0 && now >= self.next_burst {
            self.next_burst = now + Duration::from_millis(settings.burst_every_ms);
            self.owed = self.owed.saturating_add(settings.burst_frames.saturating_mul(FRAME));
        }
    }

    /// Drops the excess backlog; returns its number of frames.
    fn write_off(&mut self, settings: Settings) -> u64 {
        let most = settings.rate.saturating_mul(OWED_MAX_MS * 1000);
        let most = most.saturating_add(settings.burst_frames.saturating_mul(FRAME)).max(FRAME);
        let lost = self.owed.saturating_sub(most);
        self.owed -= lost;
        lost / FRAME
    }
}

async fn generate_until_stopped(simulation: Arc<Simulation>, seed: u64, stop: CancellationToken) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut budget = FrameBudget::new();
    while !stop.is_cancelled() {
        if budget.owed < FRAME {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
        }
        let settings = simulation.settings();
        budget.accrue(settings);
        let begun = Instant::now();
        while budget.owed >= FRAME && begun.elapsed() < BUSY_MAX {
            if !generate_slice(&simulation, &mut dice, &mut budget, settings) {
                // Paused time does not count.
                budget.owed = 0;
            }
            // Let waiters for a lock or this thread run.
            tokio::task::yield_now().await;
        }
        let lost = budget.write_off(settings);
        if let (Some(first), Some(_running)) = (simulation.exchanges().first(), simulation.running()) {
            Counters::add(&first.counters.behind, lost);
            simulation.exchanges().iter().for_each(|exchange| exchange.generate_timed(clock::now_ms()));
        }
    }
}

fn generate_slice(
    simulation: &Simulation,
    dice: &mut StdRng,
    budget: &mut FrameBudget,
    settings: Settings,
) -> bool {
    let Some(_running) = simulation.running() else { return false };
    let visited: Vec<_> = simulation.exchanges().iter().filter(|e| e.is_visited()).collect();
    let all = || simulation.exchanges().iter().collect();
    let exchanges = if visited.is_empty() { all() } else { visited };
    let Some(exchange) = exchanges.get(dice.random_range(0..exchanges.len().max(1))) else { return false };
    let wanted = (budget.owed / FRAME).min(SLICE);
    let made = exchange.generate(clock::now_ms(), wanted, settings.trade_percent);
    budget.owed = budget.owed.saturating_sub(made.saturating_mul(FRAME));
    true
}
