//! The suite that checks what an adapter claims, on the component itself, with all limits of the sandbox on.
//!
//! It reads the capability matrix that `describe` gives, and holds the adapter to it: with the adapter's own golden frames, with
//! recordings, with seeded damage to both, and with a simulator of the venue. [`test`] gives a [`Report`] that a person can read and
//! a program can parse.

mod case;
mod checks;
mod convert;
mod difference;
mod findings;
mod judge;
mod kind;
mod market;
mod mutation;
mod names;
mod numbers;
mod options;
mod report;
mod session;
mod subject;
mod suite;
mod trace;

pub use checks::Effort;
pub use kind::kind;
pub use options::{Options, golden_folder};
pub use report::{Check, Cost, ExchangeReport, KindCost, Outcome, Report, VERSION};
pub use suite::{measure, test};
