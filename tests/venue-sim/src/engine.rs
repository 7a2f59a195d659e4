//! Generation of the markets at the configured rate.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::delivery::Counters;
use crate::simulation::{Settings, Simulation};

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

pub async fn run(simulation: Arc<Simulation>, seed: u64, stop: CancellationToken) {
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
            if !generate(&simulation, &mut dice, &mut budget, settings) {
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

fn generate(
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
