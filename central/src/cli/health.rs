//! The command `health`: asks the central that runs on this machine, for container engines and scripts.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use clap::Args;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use marketprism_service::{Exit, own_addresses, own_server_tls, print};
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
    /// Authority of its certificate, if that is not the one in `http.tls_cert_file` here; public ones are known.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name that its certificate has.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    server_name: String,
    /// Ask if it is ready: health has a grace period after the start. Exit status 1 while messages are not received and stored.
    #[arg(long)]
    ready: bool,
}

pub async fn execute(http: &Http, args: &HealthArgs) -> anyhow::Result<Exit> {
    let mut asked = Err(anyhow!("http.listen has no address"));
    for address in own_addresses(http.address(args.role)) {
        let answer = timeout(HEALTH_ANSWER, ask(http, address, args)).await;
        asked = answer.with_context(|| format!("{address}: no answer within {HEALTH_ANSWER:?}")).flatten();
        if asked.is_ok() {
            break;
        }
    }
    let (status, page) = asked?;
    print(&page)?;
    match status {
        StatusCode::OK => Ok(Exit::SUCCESS),
        StatusCode::SERVICE_UNAVAILABLE => Ok(Exit::FAILED),
        other => bail!("{}: {other}", path(args)),
    }
}

const fn path(args: &HealthArgs) -> &'static str {
    if args.ready { "/ready" } else { "/health" }
}

async fn ask(http: &Http, address: SocketAddr, args: &HealthArgs) -> anyhow::Result<(StatusCode, String)> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let name = ServerName::try_from(args.server_name.clone());
    let name = name.with_context(|| format!("--server-name {:?}", args.server_name))?;
    let certificate = http.tls_cert_file.as_deref();
    let tls = own_server_tls(certificate, args.ca_file.as_deref()).context("--ca-file")?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    let client = Client::builder(TokioExecutor::new()).build(builder.enable_http1().wrap_connector(tcp));
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}", path(args));
    let request = Request::get(&url).header("host", address.to_string()).body(Body::empty())?;
    let answer = client.request(request).await.with_context(|| format!("{url}: no answer"))?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), HEALTH_BYTES_MAX).await;
    let body = body.with_context(|| format!("{url}: answer not readable"))?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
