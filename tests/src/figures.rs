//! Figures of benchmarks, and their goals.

use std::fmt;
use std::io::{self, Write};

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
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
        self.0.push(Figure { name: name.into(), value, unit, goal: None });
    }

    pub fn goal(&mut self, name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        self.0.push(Figure { name: name.into(), value, unit, goal: Some(goal) });
    }

    /// Prints the command and the table; false when a goal is missed.
    pub fn print(&self, command: &str, out: &mut impl Write) -> io::Result<bool> {
        let mut reached = true;
        writeln!(out, "$ {command}")?;
        for Figure { name, value, unit, goal } in &self.0 {
            let shown = if *value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
            let verdict = goal.map_or_else(String::new, |goal| {
                let is_reached = goal.is_reached_by(*value);
                reached &= is_reached;
                format!("goal: {goal}, {}", if is_reached { "reached" } else { "MISSED" })
            });
            writeln!(out, "{name:<96} {shown:>10} {unit:<12} {verdict}")?;
        }
        Ok(reached)
    }
}
