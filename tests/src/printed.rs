//! Figures read back from the printed table, to compare runs of two revisions.

use crate::pairs::Spread;

/// A figure is worse when its middle pair is worse by more than this, and so are three quarters of the pairs at all.
const WORSE: f64 = 0.05;

/// A figure of a run, as printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Printed {
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// The goal is a least value.
    pub is_least: Option<bool>,
}

impl Printed {
    /// A line of `Report::print`: name, value and unit, goal.
    pub fn parse(line: &str) -> Option<Self> {
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let (name, value) = (columns.next()?, columns.next()?);
        let (value, rest) = value.split_once(' ').unwrap_or((value, ""));
        let unit = rest.split(" [").next()?.split(" goal:").next()?;
        let is_least = if line.contains("goal: at least") {
            Some(true)
        } else if line.contains("goal: at most") {
            Some(false)
        } else {
            None
        };
        Some(Self {
            name: name.to_owned(),
            value: value.parse().ok()?,
            unit: unit.trim().to_owned(),
            is_least,
        })
    }

    /// Of this figure divided by its peer, pair by pair.
    pub fn is_worse(&self, ratios: &[f64], spread: Spread) -> bool {
        // A ratio without a goal says nothing about which direction is good.
        let Some(is_least) = self.is_least.or_else(|| match self.unit.as_str() {
            "times" | "" => None,
            unit => Some(unit.ends_with("/s")),
        }) else {
            return false;
        };
        let loss = |ratio: f64| if is_least { 1.0 - ratio } else { ratio - 1.0 };
        let agreeing = ratios.iter().filter(|&&ratio| loss(ratio) > 0.0).count();
        loss(spread.median) > WORSE && 4 * agreeing >= 3 * ratios.len()
    }
}
