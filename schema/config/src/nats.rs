//! The `[nats]` section: where the broker is and how to be let in. The same for edge and central.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;

use crate::{Secret, Section};

const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// How to reach the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// Server addresses; the first that answers is taken.
    pub urls: Vec<String>,
    /// Refuse connections without TLS. Addresses with `tls://` do so by themselves.
    pub tls_required: bool,
    /// Extra certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Who we say we are.
    pub authentication: NatsAuthentication,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
}

/// Who we say we are. One way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsAuthentication {
    /// Nobody.
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
        /// Why not.
        source: std::io::Error,
    },
}

impl Nats {
    /// Reads the section. `MARKETPRISM_NATS_URL` wins over `NATS_URL`, which wins over `urls`.
    #[must_use]
    pub fn read(section: &Section<'_>) -> Self {
        let configured = section.texts("urls").unwrap_or_else(|| vec![DEFAULT_URL.to_owned()]);
        let document = section.document();
        let variable =
            ["MARKETPRISM_NATS_URL", "NATS_URL"].into_iter().find_map(|name| document.variable(name));
        let urls =
            variable.map_or(configured, |list| list.split(',').map(|url| url.trim().to_owned()).collect());
        if urls.is_empty() {
            section.report("urls", "is empty", "at least one address");
        }
        for url in &urls {
            if let Err(error) = url.parse::<async_nats::ServerAddr>() {
                section.report(
                    "urls",
                    format!("{:?}: {error}", without_password(url)),
                    "nats://host:port or tls://host:port",
                );
            }
        }
        Self {
            urls,
            tls_required: section.boolean_or("tls_required", false),
            ca_file: section.existing_file("ca_file"),
            client_certificate: client_certificate(section),
            authentication: authentication(section),
            connect_timeout: section.millis_or("connect_timeout_ms", 5_000, 100..=600_000),
        }
    }

    /// Options for a connection that is told by `name` in the broker's monitoring. Does not connect.
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

    /// The addresses for logs, passwords left out.
    #[must_use]
    pub fn shown_urls(&self) -> String {
        self.urls.iter().map(|url| without_password(url)).collect::<Vec<_>>().join(",")
    }
}

fn client_certificate(section: &Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let certificate = section.existing_file("client_cert_file");
    let key = section.existing_file("client_key_file");
    let (has_certificate, has_key) =
        (section.text("client_cert_file").is_some(), section.text("client_key_file").is_some());
    if has_certificate != has_key {
        let (there, missing) = if has_key {
            ("client_key_file", "client_cert_file")
        } else {
            ("client_cert_file", "client_key_file")
        };
        section.report(missing, "is missing", format!("a file, because {there} is given"));
    }
    certificate.zip(key)
}

fn authentication(section: &Section<'_>) -> NatsAuthentication {
    let user = section.text("user");
    let password = section.secret("password");
    let mut ways = Vec::new();
    match (user, password) {
        (Some(user), Some(password)) => ways.push(NatsAuthentication::UserPassword(user, password)),
        (Some(_), None) => section.report("password_file", "is missing", "a file, because user is given"),
        (None, Some(_)) => section.report("user", "is missing", "a text, because a password is given"),
        (None, None) => {}
    }
    ways.extend(section.secret("token").map(NatsAuthentication::Token));
    ways.extend(section.secret("nkey").map(NatsAuthentication::Nkey));
    ways.extend(section.existing_file("creds_file").map(NatsAuthentication::Credentials));
    if ways.len() > 1 {
        section.report(
            "user",
            "more than one way of authentication is given",
            "one of user, token, nkey, creds_file",
        );
    }
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
