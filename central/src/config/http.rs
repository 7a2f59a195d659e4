//! `[http]`: the listener and the access to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use marketprism_config::{Problems, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::role::Role;

/// A shorter token could be found by trying.
const TOKEN_BYTES_MIN: usize = 16;
const GRACE_SECONDS_MAX: u64 = 86_400;

/// Address and access.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Http {
    /// Address of `/health /ready /metrics /coverage /integrity`; not given: port 8085 of 127.0.0.1, or 8086 with `--role cold`. The
    /// variable `HOT_STORAGE_HTTP_PORT` changes the port, except with `--role cold`.
    #[schemars(with = "Option<String>", extend("x-address" = true))]
    pub listen: Option<SocketAddr>,
    /// Port from that variable.
    #[serde(skip)]
    pub hot_port: Option<u16>,
    /// `/health` is healthy for this long after the start, whatever is missing. The variable `HEALTH_GRACE_SECONDS` wins.
    #[serde(rename = "health_grace_seconds", with = "marketprism_config::seconds")]
    #[schemars(with = "u64", range(min = 0, max = 86_400))]
    pub health_grace: Duration,
    /// At least 16 characters. `POST /repair` needs `Authorization: Bearer <token>`; without a token it is refused.
    pub token: Option<Secret>,
    /// At least 16 characters. With it, every request needs this token or `token`: `Authorization: Bearer <token>`, or as password of
    /// any user in a browser. Only `/health` and `/ready` also answer without, and then name no reasons.
    pub read_token: Option<Secret>,
    /// Answer reading requests without a token although other machines reach the address.
    pub anonymous_reads: bool,
    /// Host names under which the listener answers, besides localhost and IP addresses; `*` for every name. A listener that other
    /// machines reach also answers under names without a dot.
    pub allowed_hosts: Vec<String>,
    /// Certificate chain in PEM form, read again when the file changes. With it the listener speaks HTTPS only.
    #[schemars(extend("x-file" = true))]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate, in PEM form.
    #[schemars(extend("x-file" = true))]
    pub tls_key_file: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: None,
            hot_port: None,
            health_grace: Duration::from_secs(120),
            token: None,
            read_token: None,
            anonymous_reads: false,
            allowed_hosts: Vec::new(),
            tls_cert_file: None,
            tls_key_file: None,
        }
    }
}

impl Http {
    /// The configured address, else the role's own on the loopback interface, so that a hot and a cold central can run on one machine.
    pub fn address(&self, role: Role) -> SocketAddr {
        let port = if role == Role::Cold { 8086 } else { 8085 };
        let mut address = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
        if let Some(port) = self.hot_port.filter(|_| role != Role::Cold) {
            address.set_port(port);
        }
        address
    }

    /// True if other machines reach the address.
    fn is_reachable(&self) -> bool {
        self.listen.is_some_and(|address| !address.ip().is_loopback())
    }

    /// True if tokens and reports cross a network in clear text.
    pub fn is_exposed(&self) -> bool {
        self.is_reachable() && self.tls_cert_file.is_none()
    }

    pub(super) fn check(&mut self, problems: &mut Problems<'_>) {
        self.hot_port = problems.predecessor_port("HOT_STORAGE_HTTP_PORT", "http.listen");
        let grace = problems.predecessor_number(
            "HEALTH_GRACE_SECONDS",
            "http.health_grace_seconds",
            0..=GRACE_SECONDS_MAX,
        );
        if let Some(seconds) = grace {
            self.health_grace = Duration::from_secs(seconds);
        }
        for (key, token) in [("http.token_file", &self.token), ("http.read_token_file", &self.read_token)] {
            let is_long = token.as_ref().is_none_or(|token| token.reveal().len() >= TOKEN_BYTES_MIN);
            let allowed = format!("at least {TOKEN_BYTES_MIN} characters");
            problems.demand(is_long, key, "holds a token that can be guessed", allowed);
        }
        let is_guarded = !self.is_reachable() || self.read_token.is_some() || self.anonymous_reads;
        let what = "is missing, and other machines reach http.listen";
        let allowed = "a file with a token; or http.anonymous_reads = true to let everybody read";
        problems.demand(is_guarded, "http.read_token_file", what, allowed);
        let (has_certificate, has_key) = (self.tls_cert_file.is_some(), self.tls_key_file.is_some());
        let missing = if has_certificate { "http.tls_key_file" } else { "http.tls_cert_file" };
        let allowed = "both of tls_cert_file and tls_key_file, or neither";
        problems.demand(has_certificate == has_key, missing, "is missing", allowed);
    }
}
