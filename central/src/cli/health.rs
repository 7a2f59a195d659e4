//! The command `health`: asks the central that runs on this machine, for container engines and scripts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use clap::Args;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use marketprism_service::{Exit, print, tls_client};
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use crate::config::Http;
use crate::limits::{HEALTH_ANSWER, HEALTH_BYTES_MAX};
use crate::role::Role;

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Tasks of the central that is asked: they decide the default of `http.listen`.
    #[arg(long, value_enum, default_value_t)]
    role: Role,
    /// Authority of its certificate, where `http.tls_cert_file` is set; public ones are known.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name that its certificate has.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    server_name: String,
}

pub async fn execute(http: &Http, args: &HealthArgs) -> anyhow::Result<Exit> {
    let mut address = http.address(args.role);
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let scheme = if http.tls_cert_file.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}/health");
    let asked = timeout(HEALTH_ANSWER, ask(&url, address, args)).await;
    let (status, page) = asked.with_context(|| format!("{url}: no answer within {HEALTH_ANSWER:?}"))??;
    print(&page)?;
    match status {
        StatusCode::OK => Ok(Exit::SUCCESS),
        StatusCode::SERVICE_UNAVAILABLE => Ok(Exit::FAILED),
        other => bail!("{url}: {other}"),
    }
}

async fn ask(url: &str, address: SocketAddr, args: &HealthArgs) -> anyhow::Result<(StatusCode, String)> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let name = ServerName::try_from(args.server_name.clone());
    let name = name.with_context(|| format!("--server-name {:?}", args.server_name))?;
    let tls = tls_client(args.ca_file.as_deref(), None).context("--ca-file")?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    let client = Client::builder(TokioExecutor::new()).build(builder.enable_http1().wrap_connector(tcp));
    let request = Request::get(url).header("host", address.to_string()).body(Body::empty())?;
    let answer = client.request(request).await.with_context(|| format!("{url}: no answer"))?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), HEALTH_BYTES_MAX).await;
    Ok((
        status,
        String::from_utf8_lossy(&body.with_context(|| format!("{url}: answer not readable"))?).into_owned(),
    ))
}
