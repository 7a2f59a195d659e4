//! Figures of benchmarks, and their goals.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::pairs::Spread;

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// Of the pairs that the value is the median of.
    spread: Option<Spread>,
    goal: Option<Goal>,
}

#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_reached_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(out, "at least {least}"),
            Self::AtMost(most) => write!(out, "at most {most}"),
        }
    }
}

#[derive(Debug, Default)]
pub struct Report(Vec<Figure>);

impl Report {
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.0.push(Figure { name: name.into(), value, unit, spread: None, goal: None });
    }

    pub fn goal(&mut self, name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        self.0.push(Figure { name: name.into(), value, unit, spread: None, goal: Some(goal) });
    }

    /// The median of pairs with its spread.
    pub fn spread(
        &mut self,
        name: impl Into<String>,
        spread: Spread,
        unit: &'static str,
        goal: Option<Goal>,
    ) {
        self.0.push(Figure { name: name.into(), value: spread.median, unit, spread: Some(spread), goal });
    }

    /// Prints the command and the table; false when a goal is missed.
    pub fn print(&self, command: &str, out: &mut impl Write) -> io::Result<bool> {
        let mut reached = true;
        writeln!(out, "$ {command}")?;
        for Figure { name, value, unit, spread, goal } in &self.0 {
            let mut end = spread.map_or_else(String::new, |Spread { low, high, count, .. }| {
                format!("[{} to {}, {count} pairs] ", shown(low), shown(high))
            });
            if let Some(goal) = goal {
                let is_reached = goal.is_reached_by(*value);
                reached &= is_reached;
                end += &format!("goal: {goal}, {}", if is_reached { "reached" } else { "MISSED" });
            }
            writeln!(out, "{}", format!("{name:<96} {:>10} {unit:<12} {end}", shown(*value)).trim_end())?;
        }
        Ok(reached)
    }

    /// Figures by name, for a history.
    pub fn to_json(&self) -> Value {
        let figures = self.0.iter().map(|Figure { name, value, unit, spread, .. }| {
            let spread = spread.map(|spread| json!([spread.low, spread.high, spread.count]));
            json!({ "name": name, "value": value, "unit": unit, "spread": spread })
        });
        Value::Array(figures.collect())
    }
}

/// At least three digits of it.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        at_least if at_least >= 100.0 => 0,
        at_least if at_least >= 10.0 => 1,
        at_least if at_least >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}
