//! Figures and the goals they have to reach.

use std::io::{self, Write};

/// One figure.
#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

/// What a figure has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report(Vec<Figure>);

impl Report {
    /// Adds a figure without a goal.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.0.push(Figure { name: name.into(), value, unit, goal: None });
    }

    /// Adds a figure with its goal.
    pub fn goal(&mut self, name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        self.0.push(Figure { name: name.into(), value, unit, goal: Some(goal) });
    }

    /// Prints the table; false when a goal is missed.
    pub fn print(&self, out: &mut impl Write) -> io::Result<bool> {
        let mut reached = true;
        for Figure { name, value, unit, goal } in &self.0 {
            let shown = if *value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
            let verdict = match goal {
                None => String::new(),
                Some(Goal::AtLeast(least)) if value >= least => format!("goal: at least {least}, reached"),
                Some(Goal::AtMost(most)) if value <= most => format!("goal: at most {most}, reached"),
                Some(goal) => {
                    reached = false;
                    format!("goal: {goal:?}, MISSED")
                }
            };
            writeln!(out, "{name:<96} {shown:>10} {unit:<12} {verdict}")?;
        }
        Ok(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a missed goal fails the run, a reached one does not.
    #[test]
    fn a_missed_goal_fails_the_run() {
        let mut report = Report::default();
        report.figure("plain", 1.0, "x");
        report.goal("fast", 10.0, "x", Goal::AtLeast(9.0));
        report.goal("small", 10.0, "x", Goal::AtMost(11.0));
        assert!(report.print(&mut Vec::new()).unwrap());
        report.goal("slow", 10.0, "x", Goal::AtLeast(11.0));
        assert!(!report.print(&mut Vec::new()).unwrap());
    }
}
