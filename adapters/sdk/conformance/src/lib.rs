//! The conformance suite: checks the claims of an adapter's `describe` on the component itself, with all limits of the sandbox on. Input are
//! golden frames, recordings, seeded damage to both, and a simulator of the venue. It shares no code with any adapter.

mod case;
mod checks;
pub mod convert;
mod difference;
mod evidence;
mod market;
mod mutation;
mod names;
mod numbers;
mod report;
mod session;
mod suite;
mod trace;

pub use case::{Options, golden_folder};
pub use checks::KindFrames;
pub use names::kind;
pub use report::{Check, CheckOutcome, Cost, ExchangeReport, KindCost, Report, VERSION};
pub use suite::{check_golden, check_swap, frames_by_kind, test};
