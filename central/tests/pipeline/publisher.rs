//! Trades that do not end before what they are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::task::JoinHandle;

use crate::events::{now_us, publish, trade};

/// Publishes numbered trades, as an edge would, until it is told to end.
pub struct Publisher {
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Publisher {
    /// Publishes so many trades every tenth of a second, numbered from zero.
    pub fn start(jetstream: Context, step: u64) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(run(jetstream, step, Arc::clone(&goes_on)));
        Self { goes_on, task }
    }

    /// Ends, and gives how many trades the broker has.
    pub async fn end(self) -> u64 {
        self.goes_on.store(false, Ordering::Release);
        self.task.await.unwrap()
    }
}

async fn run(jetstream: Context, step: u64, goes_on: Arc<AtomicBool>) -> u64 {
    let base_us = now_us();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut published = 0;
    while goes_on.load(Ordering::Acquire) {
        ticks.tick().await;
        publish(&jetstream, (published..published + step).map(move |n| trade(n, base_us))).await;
        published += step;
    }
    published
}
