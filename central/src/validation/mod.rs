//! `validate` and `longrun`: the whole way from the edges to cold, judged by what passes while they look.
//!
//! They only read. Rows are counted by the clock of hot, from the begin of the measurement on.

mod figures;
mod longrun;
mod own_metrics;
mod rules;
mod sample;
mod terminal;
mod throughput;
mod validate;

pub use longrun::{LongRun, LongRunReport};
pub use sample::Sample;
pub use terminal::sample_line;
pub use validate::validate;
