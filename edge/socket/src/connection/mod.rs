//! One websocket connection of the plan over all its generations.

mod mute_watch;
mod open;
mod send_queue;
mod session;
mod stream_watch;
mod supervisor;
mod unanswered_watch;

pub(crate) use send_queue::{OutgoingText, ResyncInProgress};
pub(crate) use supervisor::{ConnectionCommand, ConnectionSupervisor, opening_time};
