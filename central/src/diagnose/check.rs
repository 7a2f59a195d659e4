//! One thing that was looked at.

use marketprism_service::Exit;
use serde::Serialize;

use crate::report::Time;
use crate::report::grid::{Paint, clean};

/// How it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// As it should be.
    Ok,
    /// Wants a look.
    Warn,
    /// Nobody answered.
    Unknown,
    /// Wrong.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// How it was found.
    pub found: Found,
    /// In words.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Everything that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Version of this form.
    pub version: u32,
    /// When.
    pub generated_at: Time,
    /// In the order of the data's way.
    pub checks: Vec<Check>,
}

impl Check {
    /// Something as it should be.
    pub fn ok(check: impl Into<String>, text: impl Into<String>) -> Self {
        Self { check: check.into(), found: Found::Ok, text: text.into(), remedy: String::new() }
    }

    /// Something that is not, and what to do about it.
    pub fn new(
        check: impl Into<String>,
        found: Found,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check: check.into(), found, text: text.into(), remedy: remedy.into() }
    }
}

impl Diagnosis {
    /// Exit status: 0 nothing fails, 1 something does, 2 nothing is known to fail and somebody did not answer.
    pub fn exit_code(&self) -> Exit {
        match self.checks.iter().map(|check| check.found).max() {
            Some(Found::Fail) => Exit::FAILED,
            Some(Found::Unknown) => Exit::NOT_DONE,
            _ => Exit::SUCCESS,
        }
    }

    /// For a terminal.
    pub fn render(&self, paint: Paint) -> String {
        let line = |check: &Check| {
            let (word, colour) = match check.found {
                Found::Ok => ("ok  ", Paint::GOOD),
                Found::Warn => ("warn", Paint::GAP),
                Found::Unknown => ("?   ", Paint::BLIND),
                Found::Fail => ("FAIL", Paint::BAD),
            };
            let remedy = match check.remedy.as_str() {
                "" => String::new(),
                remedy => format!("      {}\n", paint.with(Paint::SOFT, &clean(remedy))),
            };
            format!("{}  {}: {}\n{remedy}", paint.with(colour, word), clean(&check.check), clean(&check.text))
        };
        self.checks.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a failure weighs more than silence, silence more than a warning, and every remedy stands below its trouble.
    #[test]
    fn the_exit_status_is_that_of_the_worst() {
        let of = |found: &[Found]| Diagnosis {
            version: 1,
            generated_at: Time(0),
            checks: found.iter().map(|found| Check::new("a", *found, "b", "do c")).collect(),
        };
        assert_eq!(of(&[Found::Ok, Found::Warn]).exit_code(), Exit::SUCCESS);
        assert_eq!(of(&[Found::Unknown, Found::Warn]).exit_code(), Exit::NOT_DONE);
        assert_eq!(of(&[Found::Unknown, Found::Fail]).exit_code(), Exit::FAILED);
        assert_eq!(of(&[Found::Fail]).render(Paint::none()), "FAIL  a: b\n      do c\n");
    }
}
