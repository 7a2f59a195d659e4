//! Counters of an exchange.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct CountersView {
            $(pub $name: u64,)*
        }

        impl Counters {
            pub fn view(&self) -> CountersView {
                CountersView { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    connections,
    /// Frames with at least one receiver.
    frames,
    /// Frames queued for a connection.
    queued,
    /// Frames taken by a socket.
    sent,
    /// Frames withheld or corrupted by a fault, per receiver.
    withheld,
    /// Connections closed because the client read too slowly.
    overflows,
    too_many_messages,
    requests,
    refused_connections,
    /// REST requests refused for their weight.
    refused_requests,
    /// Connections closed because the client did not answer, or was idle.
    unanswered,
    /// Frames not generated because the requested rate is beyond this machine.
    behind,
}

impl Counters {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
