//! The states of a window, as they stand in column `state` of `verdicts`.
//!
//! Meaning of the other columns: `expected` is what the edge says that the broker stored of it, its unsure ids among them; `found` what
//! of that is in hot or in `copies`; `duplicates` what came more than once, dropped by the broker or in `copies`; `gaps`, `missing` and
//! `causes` are what the edge itself names as missing: a verified window with gaps is whole as far as the transport goes, and incomplete
//! all the same.

/// Hot holds exactly what the edge says that it stored.
pub const VERIFIED: &str = "verified";
/// Hot holds something else than the edge says that it stored.
pub const MISMATCH: &str = "mismatch";
/// The audit or the rows may still be on their way.
pub const OPEN: &str = "open";
/// Nobody vouches for the window, or not for all of it.
pub const UNVERIFIABLE: &str = "unverifiable";

/// State of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// [`VERIFIED`]
    Verified,
    /// [`MISMATCH`]
    Mismatch,
    /// [`OPEN`]
    Open,
    /// [`UNVERIFIABLE`]
    Unverifiable,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Verified, Self::Mismatch, Self::Open, Self::Unverifiable];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => VERIFIED,
            Self::Mismatch => MISMATCH,
            Self::Open => OPEN,
            Self::Unverifiable => UNVERIFIABLE,
        }
    }

    /// The state with a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}
