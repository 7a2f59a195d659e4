//! The `[nats]` section: address of the broker and authentication. The same for edge and central.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Problems, Secret};

/// `[nats]` as it is in the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NatsSection {
    /// Addresses of the broker (`nats://` or `tls://`); the first that answers is used. `MARKETPRISM_NATS_URL` wins over `NATS_URL`,
    /// which wins over this key.
    pub urls: Vec<String>,
    /// Refuse connections without TLS. `tls://` addresses do so without it.
    pub tls_required: bool,
    /// Additional certificate authority.
    #[schemars(extend("x-file" = true))]
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    #[schemars(extend("x-file" = true))]
    pub client_cert_file: Option<PathBuf>,
    /// Key of the client certificate.
    #[schemars(extend("x-file" = true))]
    pub client_key_file: Option<PathBuf>,
    /// User. At most one of user, token, nkey and creds_file.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<Secret>,
    /// Token.
    pub token: Option<Secret>,
    /// Seed of an nkey.
    pub nkey: Option<Secret>,
    /// Credentials: JWT and seed.
    #[schemars(extend("x-file" = true))]
    pub creds_file: Option<PathBuf>,
    /// Longest wait for a connection.
    #[serde(rename = "connect_timeout_ms", with = "crate::millis")]
    #[schemars(with = "u64", range(min = 100, max = 600_000))]
    pub connect_timeout: Duration,
}

impl Default for NatsSection {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".to_owned()],
            tls_required: false,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            user: None,
            password: None,
            token: None,
            nkey: None,
            creds_file: None,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// A validated `[nats]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// Server addresses; the first that answers is used.
    pub urls: Vec<String>,
    /// Refuse connections without TLS.
    pub tls_required: bool,
    /// Additional certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Credentials for the broker.
    pub authentication: NatsAuthentication,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

/// Credentials for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsAuthentication {
    /// None.
    Anonymous,
    /// User and password.
    UserPassword(String, Secret),
    /// A token.
    Token(Secret),
    /// The seed of an nkey.
    Nkey(Secret),
    /// A credentials file (JWT and seed).
    Credentials(PathBuf),
}

/// The options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsConnectError {
    /// The credentials file is not one.
    #[error("nats credentials file {path}: {source}")]
    Credentials {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl Nats {
    /// Applies the rules between keys and the variables for the address.
    pub fn new(section: NatsSection, problems: &mut Problems<'_>) -> Self {
        let document = problems.document();
        let variable =
            ["MARKETPRISM_NATS_URL", "NATS_URL"].into_iter().find_map(|name| document.variable(name));
        let urls = match variable {
            Some(list) => list.split(',').map(|url| url.trim().to_owned()).collect(),
            None => section.urls.clone(),
        };
        problems.demand(!urls.is_empty(), "nats.urls", "is empty", "at least one address");
        for url in &urls {
            if let Err(error) = url.parse::<async_nats::ServerAddr>() {
                let what = format!("{:?}: {error}", without_password(url));
                problems.report("nats.urls", what, "nats://host:port or tls://host:port");
            }
        }
        let certificate = (&section.client_cert_file, &section.client_key_file);
        if let (Some(_), None) | (None, Some(_)) = certificate {
            let key = if certificate.0.is_some() { "client_key_file" } else { "client_cert_file" };
            let allowed = "both of client_cert_file and client_key_file, or neither";
            problems.report(&format!("nats.{key}"), "is missing", allowed);
        }
        Self {
            urls,
            tls_required: section.tls_required,
            ca_file: section.ca_file.clone(),
            client_certificate: section.client_cert_file.clone().zip(section.client_key_file.clone()),
            connect_timeout: section.connect_timeout,
            authentication: authentication(section, problems),
        }
    }

    /// Options for a connection with this name in the broker's monitoring. Does not connect.
    pub async fn options(&self, name: &str) -> Result<ConnectOptions, NatsConnectError> {
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(self.connect_timeout)
            .require_tls(self.tls_required)
            .retry_on_initial_connect();
        if let Some(path) = &self.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(match &self.authentication {
            NatsAuthentication::Anonymous => options,
            NatsAuthentication::UserPassword(user, password) => {
                options.user_and_password(user.clone(), password.reveal().to_owned())
            }
            NatsAuthentication::Token(token) => options.token(token.reveal().to_owned()),
            NatsAuthentication::Nkey(seed) => options.nkey(seed.reveal().to_owned()),
            NatsAuthentication::Credentials(path) => {
                let refused =
                    |source| NatsConnectError::Credentials { path: path.display().to_string(), source };
                options.credentials_file(path).await.map_err(refused)?
            }
        })
    }

    /// The addresses for logs, without passwords.
    pub fn shown_urls(&self) -> String {
        self.urls.iter().map(|url| without_password(url)).collect::<Vec<_>>().join(",")
    }
}

fn authentication(section: NatsSection, problems: &mut Problems<'_>) -> NatsAuthentication {
    let mut ways = Vec::new();
    match (section.user, section.password) {
        (Some(user), Some(password)) => ways.push(NatsAuthentication::UserPassword(user, password)),
        (Some(_), None) => {
            problems.report("nats.password_file", "is missing", "a file, because user is given");
        }
        (None, Some(_)) => problems.report("nats.user", "is missing", "a text, because a password is given"),
        (None, None) => {}
    }
    ways.extend(section.token.map(NatsAuthentication::Token));
    ways.extend(section.nkey.map(NatsAuthentication::Nkey));
    ways.extend(section.creds_file.map(NatsAuthentication::Credentials));
    let what = "more than one way of authentication is given";
    problems.demand(ways.len() < 2, "nats.user", what, "one of user, token, nkey, creds_file");
    ways.into_iter().next().unwrap_or(NatsAuthentication::Anonymous)
}

fn without_password(address: &str) -> String {
    match url::Url::parse(address) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let masked = parsed.set_password(Some("***")).is_ok();
            if masked { parsed.to_string() } else { "***".to_owned() }
        }
        _ => address.to_owned(),
    }
}
