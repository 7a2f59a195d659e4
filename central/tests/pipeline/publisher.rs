//! Publishes numbered trades until the test ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::task::JoinHandle;

use crate::events::{now_us, publish, trade};

pub struct Publisher {
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Publisher {
    /// `step` trades per 100 ms, numbered from zero.
    pub fn start(jetstream: Context, step: u64) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(run(jetstream, step, Arc::clone(&goes_on)));
        Self { goes_on, task }
    }

    /// Returns the number of trades that the broker has.
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
