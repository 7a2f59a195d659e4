//! One simulated exchange: its market, subscribers and ledger.

mod past;
mod playback;
mod publish;
mod state;
mod subscribe;

pub use playback::play;
pub use state::Exchange;
pub(crate) use state::lock;
