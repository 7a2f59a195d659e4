//! `[traces]`: the collector and the share of messages. The same for edge and central.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use marketprism_config::{MaskedUrl, Problems, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ENDPOINT_ALLOWED: &str = "http:// or https://host[:port]/path, such as http://127.0.0.1:4318/v1/traces";

/// OpenTelemetry traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSettings {
    /// Address of an OpenTelemetry collector that takes traces as OTLP over HTTP (protobuf), with its path. Not given: no traces.
    #[schemars(extend("x-allowed" = ENDPOINT_ALLOWED))]
    pub endpoint: Option<MaskedUrl>,
    /// One of so many messages is traced from frame to row; 0: none. Edge and central choose the same messages if their numbers are equal.
    /// Changes of adapters, repairs, copies of windows and queries are traced each.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub one_message_in: u64,
    /// Header `Authorization` of the requests, such as `Bearer <token>`. Beyond this machine over https only.
    pub authorization: Option<Secret>,
    /// Additional certificate authority.
    #[schemars(extend("x-file" = true))]
    pub ca_file: Option<PathBuf>,
    /// Longest time of a request.
    #[serde(rename = "timeout_ms", with = "marketprism_config::millis")]
    #[schemars(with = "u64", range(min = 100, max = 60_000))]
    pub timeout: Duration,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            one_message_in: 10_000,
            authorization: None,
            ca_file: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl TraceSettings {
    /// The rules between keys.
    pub fn check(&self, problems: &mut Problems<'_>) {
        let Some(endpoint) = &self.endpoint else { return };
        let url = match endpoint.parse(&["http", "https"]) {
            Ok(url) => url,
            Err(error) => {
                return problems.report(
                    "traces.endpoint",
                    format!("{endpoint:?}: {error}"),
                    ENDPOINT_ALLOWED,
                );
            }
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        problems.demand(
            !has_user,
            "traces.endpoint",
            "holds a user",
            "an address without one; log in with traces.authorization_file",
        );
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        problems.demand(
            self.authorization.is_none() || url.scheme() == "https" || is_here,
            "traces.endpoint",
            format!("is {endpoint:?}, which would send traces.authorization_file in the clear"),
            "https:// beside traces.authorization_file",
        );
        let is_text = |secret: &Secret| secret.reveal().bytes().all(|byte| (b' '..=b'~').contains(&byte));
        problems.demand(
            self.authorization.as_ref().is_none_or(is_text),
            "traces.authorization_file",
            "holds a sign that no header may have",
            "printable ASCII",
        );
    }
}
