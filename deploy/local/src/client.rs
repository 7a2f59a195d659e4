//! HTTP client for the local parts and for the reachability test of the venues.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use marketprism_service::{tls_client, tls_problem};
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Url;

use crate::{ClickHouse, limits};

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Client {
    /// Ignores proxies of the environment, as the parts do among themselves.
    pub fn new() -> anyhow::Result<Self> {
        Self::built(reqwest::Client::builder().no_proxy())
    }

    /// Obeys proxies of the environment, as the edge does.
    pub fn for_venues() -> anyhow::Result<Self> {
        Self::built(reqwest::Client::builder())
    }

    fn built(builder: reqwest::ClientBuilder) -> anyhow::Result<Self> {
        // Fails if the same provider is already installed.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = builder
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot create the HTTP client")?;
        Ok(Self { http })
    }

    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.get_within(url, limits::LOCAL_ANSWER).await
    }

    pub async fn get_within(&self, url: &str, timeout: Duration) -> anyhow::Result<Answer> {
        let answer = self.http.get(url).timeout(timeout).send().await?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: answer.text().await? })
    }

    /// Runs a query; returns its rows, split at tabs.
    pub async fn query(&self, server: &ClickHouse, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let (http, url) = self.connecting(server).await?;
        let host = server.url.authority().to_owned();
        let mut request = http.post(url).header("Host", host).timeout(limits::LOCAL_ANSWER);
        request = request.header("X-ClickHouse-User", &server.user);
        if let Some(password) = &server.password {
            request = request.header("X-ClickHouse-Key", password.reveal());
        }
        let body = format!("{sql} FORMAT TabSeparated");
        let answer = request.body(body).send().await.map_err(|error| match tls_problem(&error) {
            Some(problem) => anyhow::anyhow!("clickhouse unreachable: {problem}"),
            None => anyhow::Error::new(error).context("clickhouse unreachable"),
        })?;
        let status = answer.status();
        let text = answer.text().await.context("clickhouse closed the connection inside its answer")?;
        if !status.is_success() {
            anyhow::bail!("clickhouse answered a query with status {status}: {}", text.trim());
        }
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// For an `https://` address a client of its own, which asks for the server's name where one is given.
    async fn connecting(&self, server: &ClickHouse) -> anyhow::Result<(reqwest::Client, Url)> {
        let mut url = server.url.clone();
        if url.scheme() != "https" {
            return Ok((self.http.clone(), url));
        }
        let tls = &server.tls;
        let identity = tls.client_cert_file.as_deref().zip(tls.client_key_file.as_deref());
        let config = tls_client(tls.ca_file.as_deref(), identity)
            .with_context(|| format!("TLS to clickhouse at {url}"))?;
        let mut builder = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(config);
        if let Some(name) = &tls.server_name {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = url.port_or_known_default().unwrap_or_default();
            let found = timeout(limits::LOCAL_ANSWER, lookup_host((host.clone(), port))).await;
            let found: Vec<SocketAddr> = found.context("name lookup took too long")?.context(host)?.collect();
            builder = builder.resolve_to_addrs(name, &found);
            url.set_host(Some(name)).with_context(|| format!("server_name {name:?}"))?;
        }
        Ok((builder.build().context("cannot create the HTTP client")?, url))
    }
}
