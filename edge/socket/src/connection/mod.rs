//! One websocket connection of the plan, over all its generations.

mod open;
mod outbox;
mod pacer;
mod session;
mod supervisor;
mod watchdog;
mod wire;

pub(crate) use outbox::{Text, UnderWay};
pub(crate) use supervisor::{Command, Supervisor};
