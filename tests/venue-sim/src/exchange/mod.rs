//! One simulated exchange: its market, subscribers and ledger.

mod listings;
mod publish;
mod state;
mod subscribe;

pub use publish::play;
pub use state::Exchange;
pub(crate) use state::lock;
