//! Rates and extremes of samples.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sample::Sample;

/// Flow per second: over the whole time, and in the slowest and the fastest time between two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct FlowRate {
    pub total: u64,
    pub per_second: f64,
    pub per_second_min: f64,
    pub per_second_max: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamFigures {
    pub stream: &'static str,
    pub messages: FlowRate,
    /// Messages not delivered yet.
    pub pending_first: u64,
    pub pending_last: u64,
    pub pending_max: u64,
    pub redelivered_max: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableFigures {
    pub table: String,
    pub rows: FlowRate,
    /// The most that one sample saw.
    pub doubles: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryFigures {
    pub process: String,
    pub first: u64,
    pub last: u64,
    pub max: u64,
}

/// Seconds and a count that rises.
type Point = (f64, u64);

impl FlowRate {
    fn of(points: &[Point]) -> Self {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Self::default() };
        let between = |(from, to): (&Point, &Point)| {
            let seconds = (to.0 - from.0).max(f64::EPSILON);
            to.1.saturating_sub(from.1) as f64 / seconds
        };
        let rates: Vec<f64> = points.iter().zip(points.iter().skip(1)).map(between).collect();
        if rates.is_empty() {
            return Self::default();
        }
        Self {
            total: last.1.saturating_sub(first.1),
            per_second: rounded(between((first, last))),
            per_second_min: rounded(rates.iter().copied().fold(f64::INFINITY, f64::min)),
            per_second_max: rounded(rates.iter().copied().fold(0.0, f64::max)),
        }
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

pub fn streams(samples: &[Sample]) -> Vec<StreamFigures> {
    let mut all: BTreeMap<&'static str, Vec<(f64, &super::sample::StreamSample)>> = BTreeMap::new();
    for sample in samples {
        for stream in &sample.streams {
            all.entry(stream.stream).or_default().push((sample.seconds, stream));
        }
    }
    let figures = |(stream, seen): (&'static str, Vec<(f64, &super::sample::StreamSample)>)| {
        let points: Vec<Point> = seen.iter().map(|(at, seen)| (*at, seen.last_sequence)).collect();
        let pending = || seen.iter().map(|(_, seen)| seen.pending);
        StreamFigures {
            stream,
            messages: FlowRate::of(&points),
            pending_first: pending().next().unwrap_or_default(),
            pending_last: pending().next_back().unwrap_or_default(),
            pending_max: pending().max().unwrap_or_default(),
            redelivered_max: seen.iter().map(|(_, seen)| seen.redelivered).max().unwrap_or_default(),
        }
    };
    all.into_iter().map(figures).collect()
}

pub fn tables(samples: &[Sample]) -> Vec<TableFigures> {
    let mut all: BTreeMap<&str, (Vec<Point>, u64)> = BTreeMap::new();
    for sample in samples {
        for table in &sample.tables {
            let (points, doubles) = all.entry(&table.table).or_default();
            points.push((sample.seconds, table.rows));
            *doubles = (*doubles).max(table.doubles);
        }
    }
    let figures = |(table, (points, doubles)): (&str, (Vec<Point>, u64))| TableFigures {
        table: table.to_owned(),
        rows: FlowRate::of(&points),
        doubles,
    };
    all.into_iter().map(figures).collect()
}

pub fn memory(samples: &[Sample]) -> Vec<MemoryFigures> {
    let mut all: BTreeMap<&str, MemoryFigures> = BTreeMap::new();
    for process in samples.iter().flat_map(|sample| &sample.memory) {
        let new =
            || MemoryFigures { process: process.process.clone(), first: process.bytes, last: 0, max: 0 };
        let figures = all.entry(&process.process).or_insert_with(new);
        figures.last = process.bytes;
        figures.max = figures.max.max(process.bytes);
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_between_samples_and_a_counter_that_fell_adds_nothing() {
        let rate = FlowRate::of(&[(0.0, 100), (10.0, 200), (20.0, 500)]);
        assert_eq!(
            rate,
            FlowRate { total: 400, per_second: 20.0, per_second_min: 10.0, per_second_max: 30.0 }
        );
        assert_eq!(FlowRate::of(&[(0.0, 100), (10.0, 5)]), FlowRate::default());
        assert_eq!(FlowRate::of(&[(0.0, 100)]), FlowRate::default());
    }
}
