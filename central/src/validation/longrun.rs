//! `longrun`: samples over minutes, and a report at the end.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::figures::{self, MemoryFigures, StreamFigures, TableFigures};
use super::rules;
use super::sample::{LossSample, Sample, Sampler};
use super::validate::wait_for_rows;
use crate::diagnose::{Check, CheckVerdict};
use crate::limits;
use crate::report::{Sources, Time, VerifyProgress};

pub struct LongRun<'a> {
    pub sources: &'a Sources,
    pub length: Duration,
    /// Time between two samples.
    pub every: Duration,
    /// Ends it early, with a report of the time so far.
    pub stop: CancellationToken,
    pub progress: &'a (dyn Fn(&VerifyProgress) + Sync),
}

#[derive(Debug, Clone, Serialize)]
pub struct LongRunReport {
    pub version: u32,
    pub verdict: CheckVerdict,
    pub started_at: Time,
    pub ended_at: Time,
    pub seconds: f64,
    pub samples: usize,
    /// It was stopped before its time.
    pub is_interrupted: bool,
    pub checks: Vec<Check>,
    pub streams: Vec<StreamFigures>,
    pub tables: Vec<TableFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_lag_seconds_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<LossSample>,
    pub memory: Vec<MemoryFigures>,
}

impl LongRun<'_> {
    /// `each` gets every sample with the one before it.
    pub async fn run(
        self,
        mut each: impl FnMut(Option<&Sample>, &Sample) -> anyhow::Result<()>,
    ) -> anyhow::Result<LongRunReport> {
        let mut sampler = Sampler::begin(self.sources).await.map_err(anyhow::Error::msg)?;
        let began = Instant::now();
        let mut samples: Vec<Sample> = Vec::new();
        loop {
            let sample = sampler.take().await;
            each(samples.last(), &sample)?;
            samples.push(sample);
            if began.elapsed() >= self.length || self.stop.is_cancelled() {
                break;
            }
            self.wait(began, samples.len()).await;
        }
        let is_interrupted = began.elapsed() < self.length;
        wait_for_rows(&mut sampler, &mut samples).await;
        report(&samples, is_interrupted).ok_or_else(|| anyhow::anyhow!("no sample was taken"))
    }

    /// Until the next sample is due, the end, or a stop.
    async fn wait(&self, began: Instant, taken: usize) {
        let number = u32::try_from(taken).unwrap_or(u32::MAX);
        let due = self.every.saturating_mul(number).max(began.elapsed()).min(self.length);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        while began.elapsed() < due && !self.stop.is_cancelled() {
            let left = due.saturating_sub(began.elapsed());
            (self.progress)(&VerifyProgress {
                doing: format!("{taken} samples, the next in {} s", left.as_secs()),
                done: millis(began.elapsed()),
                total: millis(self.length),
            });
            tokio::select! {
                () = sleep(left.min(limits::MEASURE_TICK)) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

fn report(samples: &[Sample], is_interrupted: bool) -> Option<LongRunReport> {
    let (first, last) = (samples.first()?, samples.last()?);
    let checks = rules::evaluate(samples);
    Some(LongRunReport {
        version: 1,
        verdict: CheckVerdict::of(&checks),
        started_at: first.at,
        ended_at: last.at,
        seconds: last.seconds - first.seconds,
        samples: samples.len(),
        is_interrupted,
        checks,
        streams: figures::streams(samples),
        tables: figures::tables(samples),
        cold_lag_seconds_max: samples.iter().filter_map(|sample| sample.cold_lag_seconds).max(),
        losses: last.losses,
        memory: figures::memory(samples),
    })
}
