//! `[http]`: where central is asked.

use std::net::SocketAddr;
use std::time::Duration;

use marketprism_config::{Secret, Section};

use crate::role::Role;

/// A shorter token could be found by trying.
const TOKEN_BYTES_MIN: usize = 16;

/// Where health and metrics are served.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen at; none configured: see [`Http::address`].
    pub listen: Option<SocketAddr>,
    /// `/health` says healthy for so long after the start, whatever is still missing. `HEALTH_GRACE_SECONDS` wins.
    pub health_grace: Duration,
    /// What a request that changes something must carry; without it such requests are refused.
    pub token: Option<Secret>,
}

impl Http {
    /// The configured address, else the role's own on the loopback interface, so that a hot and a cold central can live on one machine.
    pub fn address(&self, role: Role) -> SocketAddr {
        let port = if role == Role::Cold { 8086 } else { 8085 };
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub(super) fn read(section: &Section<'_>) -> Self {
        let configured = section.integer_or("health_grace_seconds", 120, 0..=86_400);
        let name = "HEALTH_GRACE_SECONDS";
        let grace = match section.document().variable(name) {
            None => configured,
            Some(text) => text.parse().unwrap_or_else(|_| {
                section.document().report(name, format!("is {text:?}"), "a number of seconds");
                configured
            }),
        };
        let token = section.secret("token");
        if token.as_ref().is_some_and(|token| token.reveal().len() < TOKEN_BYTES_MIN) {
            let allowed = format!("a file with at least {TOKEN_BYTES_MIN} characters");
            section.report("token_file", "holds a token that can be guessed", allowed);
        }
        Self {
            token,
            listen: section.parsed("listen", "an address and port such as 127.0.0.1:8085"),
            health_grace: Duration::from_secs(grace),
        }
    }
}
