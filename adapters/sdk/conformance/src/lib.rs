//! The conformance suite: checks the claims of an adapter's `describe` on the component itself, with all limits of the sandbox on. Input are
//! golden frames, recordings, seeded damage to both, and a simulator of the venue. It shares no code with any adapter.

mod case;
mod checks;
mod convert;
mod difference;
mod evidence;
mod findings;
mod kind;
mod market;
mod mutation;
mod names;
mod numbers;
mod options;
mod report;
mod session;
mod suite;
mod tested_adapter;
mod trace;

pub use checks::BenchEffort;
pub use kind::kind;
pub use options::{Options, golden_folder};
pub use report::{Check, CheckOutcome, Cost, ExchangeReport, KindCost, Report, VERSION};
pub use suite::{measure, test};
