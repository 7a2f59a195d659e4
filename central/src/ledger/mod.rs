//! The integrity ledger: what edges say about every window of every stream, and whether hot holds exactly that.
//!
//! One central at a time keeps it, under a lease. `intake` stores audits, `comparison` judges windows and writes `verdicts`. [`state`] says
//! what the columns mean.

mod comparison;
mod intake;
mod run;
mod source;
pub mod state;
mod store;
mod touched;
mod windows;

pub use run::run;
