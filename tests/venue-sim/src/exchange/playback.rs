//! Playing the frames of a recording at their pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Exchange, lock};
use crate::clock;
use crate::recording::{RecordedTrade, Recording, times};

/// Poll interval for a subscription, or the end of a pause.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const BREATH: usize = 64;

/// Plays an exchange's recording once, from the first subscription.
pub async fn play(exchange: Arc<Exchange>, paused: Arc<AtomicBool>) {
    let Some(recording) = &exchange.recording else { return };
    let Some(first_at) = recording.frames.first().map(|f| f.at) else { return };
    while !lock(&exchange.hub).has_subscribers() || paused.load(Ordering::Acquire) {
        sleep(LOOK_EVERY).await;
    }
    set_shift(recording, first_at);
    let mut start = Instant::now();
    for (n, frame) in recording.frames.iter().enumerate() {
        let waited = Instant::now();
        while paused.load(Ordering::Acquire) {
            sleep(LOOK_EVERY).await;
        }
        start += waited.elapsed();
        if let Some(after) = pace(frame.at - first_at, recording.speed_percent) {
            sleep_until(start + after).await;
        } else if n % BREATH == 0 {
            tokio::task::yield_now().await;
        }
        recording.position.store(frame.at, Ordering::Release);
        let shift = recording.shift_ms.load(Ordering::Acquire);
        let raw = if shift == 0 { frame.raw.clone() } else { times::shift(&frame.raw, shift) };
        let trade = frame.trade.clone().map(|t| shifted(t, shift));
        exchange.publish_recorded(&frame.stream, &frame.symbol, frame.book, raw, trade);
        recording.played.fetch_add(1, Ordering::Relaxed);
    }
    recording.done.store(true, Ordering::Release);
}

fn set_shift(recording: &Recording, first_at: i64) {
    if recording.shift_to_now {
        recording.shift_ms.store(clock::now_ms() - first_at / 1_000_000, Ordering::Release);
    }
}

/// Time from the start to a frame; `None` without pace.
fn pace(after_first_ns: i64, speed_percent: u64) -> Option<Duration> {
    let ns = u64::try_from(after_first_ns).unwrap_or(0);
    (speed_percent > 0).then(|| Duration::from_nanos(ns.saturating_mul(100) / speed_percent))
}

fn shifted(mut trade: RecordedTrade, shift_ms: i64) -> RecordedTrade {
    trade.record.trade_ms += shift_ms;
    trade.record.event_ms += shift_ms;
    trade
}
