//! One exchange being played: its market, its subscribers, its ledger.

mod options;
mod past;
mod publish;
mod state;
mod subscribe;

pub use options::Options;
pub use state::Exchange;
pub(crate) use state::lock;
