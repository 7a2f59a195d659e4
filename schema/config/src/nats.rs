//! The `[nats]` section: address of the broker and authentication. The same for edge and central.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::masked_url::MaskedUrl;
use crate::nats_credentials::credentials_options;
use crate::secret::Secret;

/// Time of a server of several: TCP, TLS and log-in take some round trips around the world.
const SERVER_TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// Interval of pings. After two without an answer the client connects again. With its default of 60 s a connection that ended without a word
/// (a firewall, a machine that lost power) is kept for three minutes.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A token of a subject.
const DOMAIN_ALLOWED: &str = "1 to 32 of A-Z, a-z, 0-9, -, _";
const DOMAIN_CHARS_MAX: usize = 32;

const ADDRESS_ALLOWED: &str = "nats://host:port or tls://host:port";

/// Refuses also what the client takes and can reach nothing by.
fn server_address(url: &MaskedUrl) -> Result<(), String> {
    let address: async_nats::ServerAddr =
        url.reveal().parse().map_err(|error: std::io::Error| error.to_string())?;
    if !matches!(address.scheme(), "nats" | "tls") {
        return Err(format!("scheme {:?}", address.scheme()));
    }
    if address.host().is_empty() {
        return Err("no host".to_owned());
    }
    if address.port() == 0 { Err("port 0".to_owned()) } else { Ok(()) }
}

/// Address of the broker and authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nats {
    /// Addresses of the broker (`nats://` or `tls://`), of a cluster those of all its servers; one that answers is used. `MARKETPRISM_NATS_URL` wins over `NATS_URL`,
    /// which wins over `MARKETPRISM_NATS_SERVERS` and this key. `user:password@` or `token@` before the host is used to log in,
    /// with `%` escapes for special characters.
    pub urls: Vec<MaskedUrl>,
    /// Refuse connections without TLS. `tls://` addresses do so without it.
    pub tls_required: bool,
    /// Begin with TLS, for servers with `handshake_first`, which say nothing before it.
    pub tls_first: bool,
    /// Certificate authorities that are trusted in place of the system's.
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
    /// Token to log in with.
    pub token: Option<Secret>,
    /// Seed of an nkey.
    pub nkey: Option<Secret>,
    /// Credentials: JWT and seed. The file is read for each login, so that a renewed one is used.
    #[schemars(extend("x-file" = true))]
    pub creds_file: Option<PathBuf>,
    /// JetStream domain of the centre, for an edge behind a leaf node. Its requests and writes to buckets then name the domain, and
    /// acknowledgements of another one do not count.
    #[schemars(extend("x-allowed" = DOMAIN_ALLOWED))]
    pub jetstream_domain: Option<String>,
    /// Longest wait for a connection; several addresses share it, with at least 2 s each.
    #[serde(rename = "connect_timeout_ms", with = "crate::millis")]
    #[schemars(with = "u64", range(min = 100, max = 600_000))]
    pub connect_timeout: Duration,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".into()],
            tls_required: false,
            tls_first: false,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            user: None,
            password: None,
            token: None,
            nkey: None,
            creds_file: None,
            jetstream_domain: None,
            connect_timeout: Duration::from_secs(5),
        }
    }
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
    /// Takes the address from its variables, and checks the rules between keys.
    pub fn check(&mut self, problems: &mut Problems<'_>) {
        let document = problems.document();
        let mut variables = ["MARKETPRISM_NATS_URL", "NATS_URL"].into_iter();
        let ours = variables.find_map(|name| Some((name, document.variable(name)?)));
        let earlier = || Some(("nats.urls", problems.predecessor("MARKETPRISM_NATS_SERVERS", "nats.urls")?));
        let mut origin = "nats.urls";
        if let Some((name, list)) = ours.or_else(earlier) {
            origin = name;
            let urls = list.split(',').map(str::trim);
            // A list may end in a comma.
            self.urls = urls.filter(|url| !url.is_empty()).map(Into::into).collect();
        }
        problems.demand(!self.urls.is_empty(), origin, "is empty", "at least one address");
        for url in &self.urls {
            if let Err(error) = server_address(url) {
                problems.report(origin, format!("{url:?}: {error}"), ADDRESS_ALLOWED);
            }
        }
        self.take_user_info(problems);
        if let Some(domain) = &self.jetstream_domain {
            let of_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let is_valid = (1..=DOMAIN_CHARS_MAX).contains(&domain.len()) && domain.chars().all(of_token);
            problems.demand(is_valid, "nats.jetstream_domain", format!("is {domain:?}"), DOMAIN_ALLOWED);
        }
        let both = [
            (
                "client_cert_file",
                self.client_cert_file.is_some(),
                "client_key_file",
                self.client_key_file.is_some(),
            ),
            ("user", self.user.is_some(), "password_file", self.password.is_some()),
        ];
        for (one, has_one, other, has_other) in both {
            let missing = if has_one { other } else { one };
            let allowed = format!("both of {one} and {other}, or neither");
            problems.demand(has_one == has_other, &format!("nats.{missing}"), "is missing", allowed);
        }
        let ways =
            [self.user.is_some(), self.token.is_some(), self.nkey.is_some(), self.creds_file.is_some()];
        let is_one = ways.into_iter().filter(|is_given| *is_given).count() < 2;
        let what = "more than one way of authentication is given";
        problems.demand(is_one, "nats.user", what, "one of user, token, nkey, creds_file");
    }

    /// The client ignores user, password and token in an address: they become those of the keys.
    fn take_user_info(&mut self, problems: &mut Problems<'_>) {
        let mut taken: Vec<(String, String)> =
            self.urls.iter_mut().filter_map(MaskedUrl::take_user_info).collect();
        taken.dedup();
        let ways =
            [self.user.is_some(), self.token.is_some(), self.nkey.is_some(), self.creds_file.is_some()];
        match taken.as_slice() {
            [] => {}
            [_] if ways.contains(&true) => {
                let what = "holds a user or token beside a key for it";
                problems.report("nats.urls", what, "one way of authentication");
            }
            [(token, password)] if password.is_empty() => self.token = Some(Secret::new(token.clone())),
            [(user, password)] => {
                self.user = Some(user.clone());
                self.password = Some(Secret::new(password.clone()));
            }
            _ => {
                let what = "holds several users or passwords";
                problems.report("nats.urls", what, "the same in every address");
            }
        }
    }

    /// Options for a connection with this name in the broker's monitoring. Does not connect.
    pub fn options(&self, name: &str) -> Result<ConnectOptions, NatsConnectError> {
        Ok(self.options_of_one_attempt(name)?.retry_on_initial_connect())
    }

    /// As [`Nats::options`]; connecting fails with the first error.
    pub(crate) fn options_of_one_attempt(&self, name: &str) -> Result<ConnectOptions, NatsConnectError> {
        self.options_with_pings(name, PING_EVERY)
    }

    fn options_with_pings(&self, name: &str, every: Duration) -> Result<ConnectOptions, NatsConnectError> {
        let mut options = match &self.creds_file {
            Some(path) => {
                let refused =
                    |source| NatsConnectError::Credentials { path: path.display().to_string(), source };
                credentials_options(path.clone()).map_err(refused)?
            }
            None => ConnectOptions::new(),
        };
        options = options
            .name(name)
            // The broker may allow each user its own inboxes only.
            .custom_inbox_prefix(format!("_INBOX.{name}"))
            .connection_timeout(self.server_timeout())
            .ping_interval(every)
            // The client forgets no address that a server announced for its cluster, and would log in there without this TLS.
            .ignore_discovered_servers()
            .require_tls(self.tls_required);
        if self.tls_first {
            options = options.tls_first();
        }
        if let Some(path) = &self.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert_file, &self.client_key_file) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.reveal().to_owned());
        }
        if let Some(token) = &self.token {
            options = options.token(token.reveal().to_owned());
        }
        if let Some(seed) = &self.nkey {
            options = options.nkey(seed.reveal().to_owned());
        }
        Ok(options)
    }

    /// The client asks one server after the other: one that swallows packets must leave time for the rest.
    pub(crate) fn server_timeout(&self) -> Duration {
        let servers = u32::try_from(self.urls.len()).unwrap_or(u32::MAX).max(1);
        (self.connect_timeout / servers).max(self.connect_timeout.min(SERVER_TIMEOUT_MIN))
    }

    /// Keys and files of certificates.
    pub fn certificates(&self) -> [(&'static str, Option<&Path>); 2] {
        [
            ("nats.ca_file", self.ca_file.as_deref()),
            ("nats.client_cert_file", self.client_cert_file.as_deref()),
        ]
    }

    /// The addresses for the client, secrets included.
    pub fn addresses(&self) -> Vec<&str> {
        self.urls.iter().map(MaskedUrl::reveal).collect()
    }

    /// The addresses for logs, masked.
    pub fn shown_urls(&self) -> String {
        self.urls.iter().map(MaskedUrl::to_string).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn info(more: &str) -> String {
        format!(
            "INFO {{\"server_id\":\"x\",\"version\":\"2.11.0\",\"proto\":1,\"host\":\"h\",\"port\":1,\"max_payload\":9999,{more}}}\r\n"
        )
    }

    /// Takes one login, and loses the connection. Returns what the client said.
    async fn login(server: &TcpListener, info: &str) -> String {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(info.as_bytes()).await.unwrap();
        let (mut said, mut part) = (Vec::new(), [0; 1024]);
        while !said.ends_with(b"PING\r\n") {
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the client gave up");
            said.extend_from_slice(&part[..read]);
        }
        stream.write_all(b"PONG\r\n").await.unwrap();
        String::from_utf8(said).unwrap()
    }

    fn connecting_to(server: &TcpListener) -> Nats {
        let url = format!("nats://{}", server.local_addr().unwrap());
        Nats { urls: vec![url.into()], ..Nats::default() }
    }

    /// Servers announce the addresses of their cluster: of removed containers, or that only they reach.
    #[tokio::test]
    async fn only_the_configured_servers_are_connected_to() {
        let (ours, told) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let info = info(&format!("\"connect_urls\":[\"{}\"]", told.local_addr().unwrap()));
        let nats = connecting_to(&ours);
        let _client = nats.options("test").unwrap().connect(nats.addresses()).await.unwrap();
        // One of two addresses would be taken at random each time.
        let losing = async {
            for _ in 0..12 {
                login(&ours, &info).await;
            }
        };
        tokio::select! {
            () = losing => {}
            _ = told.accept() => panic!("connected to a server that nobody configured"),
        }
    }

    /// The client itself reads the file once, and is refused for ever when the JWT in it has expired.
    #[tokio::test]
    async fn a_renewed_credentials_file_is_used_by_the_next_login() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        let write = |jwt: &str| {
            let text = format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
                 -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
            );
            std::fs::write(file.path(), text).unwrap();
        };
        write("first.jwt");
        let nats = Nats { creds_file: Some(file.path().to_owned()), ..connecting_to(&server) };
        let _client = nats.options("test").unwrap().connect(nats.addresses()).await.unwrap();
        let info = info("\"auth_required\":true,\"nonce\":\"abc\"");
        let said = login(&server, &info).await;
        assert!(said.contains("\"jwt\":\"first.jwt\"") && said.contains("\"sig\":\""), "{said}");
        write("second.jwt");
        // A login may have begun before.
        let again = [login(&server, &info).await, login(&server, &info).await];
        assert!(again[1].contains("\"jwt\":\"second.jwt\""), "{again:?}");
        std::fs::write(file.path(), "nonsense").unwrap();
        let error = nats.options("test").unwrap_err().to_string();
        assert!(error.contains("no user JWT in it"), "{error}");
    }

    #[tokio::test]
    async fn a_broker_that_answers_no_ping_is_left_after_three_intervals() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nats = connecting_to(&server);
        let options = nats.options_with_pings("test", Duration::from_millis(200)).unwrap();
        let _client = options.retry_on_initial_connect().connect(nats.addresses()).await.unwrap();
        let silent = async {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.write_all(info("\"headers\":true").as_bytes()).await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"PING\r\n") {
                assert!(stream.read_buf(&mut said).await.unwrap() > 0, "the client gave up");
            }
            stream.write_all(b"PONG\r\n").await.unwrap();
            stream
        };
        let _silent = silent.await;
        // The client keeps the old connection until it has another one.
        let again = tokio::time::timeout(Duration::from_secs(60), server.accept()).await;
        again.expect("the connection is kept").unwrap();
    }

    #[test]
    fn servers_share_the_time_for_a_connection() {
        let share = |servers: usize, seconds| {
            let urls = vec!["nats://h:1".into(); servers];
            let nats = Nats { urls, connect_timeout: Duration::from_secs(seconds), ..Nats::default() };
            nats.server_timeout().as_millis()
        };
        assert_eq!([share(1, 5), share(2, 5), share(9, 5)], [5_000, 2_500, 2_000]);
        assert_eq!(share(3, 1), 1_000, "never more than the whole");
    }
}
