//! Two sides measured in turn (A B, B A, ...). On a shared machine only the ratio of neighbours is a figure: a neighbour's load
//! takes its time from both.

use std::time::Duration;

/// Cost of one unit of a side's work, in one of its turns.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Seconds a unit.
    pub wall: f64,
    /// Seconds of CPU time a unit.
    pub cpu: f64,
}

impl Turn {
    pub fn of(wall: Duration, cpu: Duration, units: u64) -> Self {
        let each = |time: Duration| time.as_secs_f64() / units.max(1) as f64;
        Self { wall: each(wall), cpu: each(cpu) }
    }
}

/// Turns of two sides, each pair one after the other.
#[derive(Debug, Default, Clone)]
pub struct Pairs(Vec<[Turn; 2]>);

/// The middle of values, and the deciles around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
    pub count: usize,
}

impl Spread {
    /// Nothing of no values.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |tenths: usize| values[(last * tenths + 5) / 10];
        let median = (values[last / 2] + values[last.div_ceil(2)]) / 2.0;
        Some(Self { low: at(1), median, high: at(9), count: values.len() })
    }
}

impl Pairs {
    /// Runs both sides `count` times; the one that begins changes from pair to pair.
    pub fn take<E>(
        count: usize,
        mut left: impl FnMut() -> Result<Turn, E>,
        mut right: impl FnMut() -> Result<Turn, E>,
    ) -> Result<Self, E> {
        let mut pairs = Self::default();
        for pair in 0..count {
            if pair % 2 == 0 {
                let left = left()?;
                pairs.push(left, right()?);
            } else {
                let right = right()?;
                pairs.push(left()?, right);
            }
        }
        Ok(pairs)
    }

    pub fn push(&mut self, left: Turn, right: Turn) {
        self.0.push([left, right]);
    }

    /// Wall time of left against right, pair by pair.
    pub fn times(&self) -> Option<Spread> {
        Spread::of(self.0.iter().map(|[left, right]| left.wall / right.wall))
    }

    /// Rate of left against right, pair by pair.
    pub fn rates(&self) -> Option<Spread> {
        Spread::of(self.0.iter().map(|[left, right]| right.wall / left.wall))
    }

    /// CPU time of left against right. Of all turns together: the kernel accounts it in steps that are coarse for one.
    pub fn cpu_times(&self) -> f64 {
        let [left, right] = [0, 1].map(|side| self.0.iter().map(|pair| pair[side].cpu).sum::<f64>());
        left / right
    }

    /// CPU time of a unit on the right, of all turns together.
    pub fn right_cpu(&self) -> f64 {
        self.0.iter().map(|[_, right]| right.cpu).sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Wall time of a unit on the left, of the middle turn.
    pub fn left(&self) -> Option<Spread> {
        Spread::of(self.0.iter().map(|[left, _]| left.wall))
    }

    pub fn right(&self) -> Option<Spread> {
        Spread::of(self.0.iter().map(|[_, right]| right.wall))
    }
}
