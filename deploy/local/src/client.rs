//! HTTP client for the local parts and for the reachability test of the venues.

use std::time::Duration;

use anyhow::Context as _;

use crate::{ClickHouse, limits};

/// Ignores proxies of the environment, as the parts do.
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
    pub fn new() -> anyhow::Result<Self> {
        // Fails if the same provider is already installed.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .no_proxy()
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
        let mut request = self.http.post(server.url.as_str()).timeout(limits::LOCAL_ANSWER);
        request = request.header("X-ClickHouse-User", &server.user);
        if let Some(password) = &server.password {
            request = request.header("X-ClickHouse-Key", password.reveal());
        }
        let body = format!("{sql} FORMAT TabSeparated");
        let answer = request.body(body).send().await.context("clickhouse unreachable")?;
        let status = answer.status();
        let text = answer.text().await.context("clickhouse closed the connection inside its answer")?;
        if !status.is_success() {
            anyhow::bail!("clickhouse answered a query with status {status}: {}", text.trim());
        }
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}
