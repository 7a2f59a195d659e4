//! One simulated exchange: its market, subscribers and ledger.

mod options;
mod past;
mod publish;
mod state;
mod subscribe;

pub use options::Options;
pub use state::Exchange;
pub(crate) use state::lock;
