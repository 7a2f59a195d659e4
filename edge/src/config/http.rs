//! `[http]`: the listeners, and the access to them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use marketprism_config::{Problems, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::HEALTH_GRACE;

/// A shorter token could be found by trying.
const TOKEN_BYTES_MIN: usize = 16;
const HEALTH_GRACE_SECONDS_MAX: u64 = 86_400;

/// Addresses of the HTTP listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Http {
    /// `/health /ready /metrics /coverage /adapters /reload`. The variable `HEALTH_CHECK_PORT` changes its port.
    #[schemars(with = "String", extend("x-address" = true))]
    pub listen: SocketAddr,
    /// `/metrics` alone, for a scraper. The variable `METRICS_PORT` changes its port.
    #[schemars(with = "String", extend("x-address" = true))]
    pub metrics_listen: SocketAddr,
    /// Host names under which the listeners answer, besides localhost and IP addresses; `*` for every name. A listener that other
    /// machines reach also answers under names without a dot.
    pub allowed_hosts: Vec<String>,
    /// At least 16 characters. Requests that change something need `Authorization: Bearer <token>`; without a token they are refused.
    pub token: Option<Secret>,
    /// Certificate chain in PEM form, read again when the file changes. With it both listeners speak HTTPS only.
    #[schemars(extend("x-file" = true))]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate, in PEM form.
    #[schemars(extend("x-file" = true))]
    pub tls_key_file: Option<PathBuf>,
    /// Of the variable `HEALTH_GRACE_SECONDS`: `/health` is healthy for this long after the start.
    #[serde(skip)]
    pub health_grace: Duration,
}

impl Http {
    pub(super) fn take_predecessors(&mut self, problems: &mut Problems<'_>) {
        // As central's key, which an edge has no need of.
        let grace = problems.predecessor_number(
            "HEALTH_GRACE_SECONDS",
            "http.health_grace_seconds",
            0..=HEALTH_GRACE_SECONDS_MAX,
        );
        self.health_grace = grace.map_or(HEALTH_GRACE, Duration::from_secs);
        for (variable, key, address) in [
            ("HEALTH_CHECK_PORT", "http.listen", &mut self.listen),
            ("METRICS_PORT", "http.metrics_listen", &mut self.metrics_listen),
        ] {
            if let Some(port) = problems.predecessor_port(variable, key) {
                address.set_port(port);
            }
        }
    }

    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        let is_long = self.token.as_ref().is_none_or(|token| token.reveal().len() >= TOKEN_BYTES_MIN);
        let at_least = format!("at least {TOKEN_BYTES_MIN} characters");
        problems.demand(is_long, "http.token_file", "holds a token that can be guessed", at_least);
        let what = format!("is {}", self.metrics_listen);
        let allowed = format!("another port than that of http.listen ({})", self.listen);
        problems.demand(!overlap(self.listen, self.metrics_listen), "http.metrics_listen", what, allowed);
        let (has_certificate, has_key) = (self.tls_cert_file.is_some(), self.tls_key_file.is_some());
        let missing = if has_certificate { "http.tls_key_file" } else { "http.tls_cert_file" };
        let allowed = "both of tls_cert_file and tls_key_file, or neither";
        problems.demand(has_certificate == has_key, missing, "is missing", allowed);
    }
}

impl Default for Http {
    fn default() -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            listen: at(8087),
            metrics_listen: at(9093),
            allowed_hosts: Vec::new(),
            token: None,
            tls_cert_file: None,
            tls_key_file: None,
            health_grace: HEALTH_GRACE,
        }
    }
}

/// True for addresses of which only one can be listened on. `[::]` takes IPv4 too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let [a, b] = [one, other].map(|address| address.ip().to_canonical());
    let covers = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}
