//! `[http]`: the HTTP interface of central.

use std::net::SocketAddr;
use std::time::Duration;

use marketprism_config::{Problems, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::role::Role;

/// A shorter token could be found by trying.
const TOKEN_BYTES_MIN: usize = 16;
const GRACE_VARIABLE: &str = "HEALTH_GRACE_SECONDS";

/// Address and access.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Http {
    /// Address of `/health /ready /metrics /coverage /integrity`; not given: port 8085 of 127.0.0.1, or 8086 with `--role cold`.
    #[schemars(with = "Option<String>", extend("x-address" = true))]
    pub listen: Option<SocketAddr>,
    /// `/health` is healthy for this long after the start, whatever is missing. The variable `HEALTH_GRACE_SECONDS` wins.
    #[serde(rename = "health_grace_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 0, max = 86_400))]
    pub health_grace: Duration,
    /// At least 16 characters. `POST /repair` needs `Authorization: Bearer <token>`; without a token it is refused.
    pub token: Option<Secret>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: None, health_grace: Duration::from_secs(120), token: None }
    }
}

impl Http {
    /// The configured address, else the role's own on the loopback interface, so that a hot and a cold central can run on one machine.
    pub fn address(&self, role: Role) -> SocketAddr {
        let port = if role == Role::Cold { 8086 } else { 8085 };
        self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub(super) fn check(&mut self, problems: &mut Problems<'_>) {
        if let Some(text) = problems.document().variable(GRACE_VARIABLE) {
            match text.parse() {
                Ok(seconds) => self.health_grace = Duration::from_secs(seconds),
                Err(_) => problems.report(GRACE_VARIABLE, format!("is {text:?}"), "a number of seconds"),
            }
        }
        let is_long = self.token.as_ref().is_none_or(|token| token.reveal().len() >= TOKEN_BYTES_MIN);
        let allowed = format!("at least {TOKEN_BYTES_MIN} characters");
        problems.demand(is_long, "http.token_file", "holds a token that can be guessed", allowed);
    }
}
