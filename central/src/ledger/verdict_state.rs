//! States of a window, as stored in column `state` of `verdicts`.
//!
//! Other columns: `expected` is the number of events that the edge reports as published, its ambiguous ones included; `found` those of them
//! in hot or `copies`; `duplicates` were dropped by the broker or are in `copies`; `gaps`, `missing` and `causes` come from the edge: a
//! verified window with gaps lost nothing in transport, and is incomplete all the same.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerdictState {
    /// Hot has exactly the events that the edge reports as published.
    Verified,
    /// Hot has other events than the edge reports.
    Mismatch,
    /// The audit or rows may still arrive.
    Open,
    /// No audit covers the window, or not all of it.
    Unverifiable,
}

impl VerdictState {
    pub const ALL: [Self; 4] = [Self::Verified, Self::Mismatch, Self::Open, Self::Unverifiable];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Mismatch => "mismatch",
            Self::Open => "open",
            Self::Unverifiable => "unverifiable",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}
