//! What edges say against what hot holds.
//!
//! Every message of a stream ends as a row in hot, in `copies` or in `dead_letters`. So of one edge, stream and window, the events in hot
//! and `copies`, the unsure ones left out, have exactly the fingerprint that the edge says the broker stored, and every unsure one is in hot
//! as somebody's row. `judge` is that rule; the rest finds out what it needs: one statement a span of windows, never one a window.
//!
//! A window is judged when its audits are here and the broker's messages of before are taken in, again at the end of the grace while it is
//! open, whenever a further audit arrives, and with everything that hot holds every `recheck_seconds`.

mod cover;
mod evidence;
mod facts;
mod gauges;
mod held;
mod horizon;
mod inquiry;
mod judge;
#[cfg(test)]
mod judge_tests;
mod pending;
mod recheck;
mod roster;
mod round;
mod settle;
mod troubles;
mod verdict;

pub use gauges::Gauges;
pub use recheck::Recheck;
pub use round::Comparison;
