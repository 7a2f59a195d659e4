//! Requests of commands to a running edge, at the address and with the token of its configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::rt::{Read, Write};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use marketprism_config::Document;
use marketprism_service::{own_addresses, own_server_tls, tls_problem};
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Http, read_http};

/// Bytes of an answer of the edge.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Longest exchange with the edge.
const ANSWER: Duration = Duration::from_secs(30);

/// Name in the certificate of an edge that is asked on its own machine.
const LOCAL_NAME: &str = "localhost";

#[derive(Debug, Args)]
pub(super) struct EdgeArguments {
    /// Configuration file of the running edge: its `[http]` has address and token.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Authority of the edge's certificate, if that is not the one in `http.tls_cert_file` here; public ones are known.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name that the edge's certificate has. Default: localhost, or the address of `http.listen` if it is another machine's.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

pub(super) struct EdgeClient {
    http: Http,
    /// Tried one after the other.
    addresses: Vec<SocketAddr>,
    /// For an edge that speaks HTTPS.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

#[derive(Deserialize)]
struct RefusedRequest {
    error: String,
}

/// Status and body of an answer.
pub(super) type EdgeAnswer = (StatusCode, Vec<u8>);

impl EdgeClient {
    pub(super) fn of(arguments: &EdgeArguments) -> anyhow::Result<Self> {
        let EdgeArguments { config, ca_file, server_name } = arguments;
        let mut http = read_http(&Document::load(config)?)?;
        let addresses = own_addresses(http.listen);
        http.listen = addresses.first().copied().unwrap_or(http.listen);
        let Some(certificate) = &http.tls_cert_file else {
            let is_plain = ca_file.is_none() && server_name.is_none();
            ensure!(
                is_plain,
                "--ca-file and --server-name are for an edge with http.tls_cert_file: this one speaks plain HTTP"
            );
            return Ok(Self { http, addresses, tls: None });
        };
        let trust = own_server_tls(Some(certificate), ca_file.as_deref()).context("--ca-file")?;
        let address = http.listen.ip();
        let local = if address.is_loopback() { LOCAL_NAME.to_owned() } else { address.to_string() };
        let name = server_name.clone().unwrap_or(local);
        let name = ServerName::try_from(name.clone()).with_context(|| format!("--server-name {name:?}"))?;
        Ok(Self { http, addresses, tls: Some((TlsConnector::from(Arc::new(trust)), name)) })
    }

    /// Asks for a document; every status but success is an error.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<A> {
        let what = self.request_name(&method, path);
        let (status, bytes) = self.send(method, path, body, ANSWER).await?;
        ensure!(status.is_success(), "{what}: {status}: {}", refusal(&bytes));
        serde_json::from_slice(&bytes).with_context(|| format!("{what}: answer not readable"))
    }

    pub(super) fn request_name(&self, method: &Method, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{method} {scheme}://{}{path}", self.http.listen)
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> anyhow::Result<EdgeAnswer> {
        let what = self.request_name(&method, path);
        let sent = timeout(limit, self.exchange(method, path, body)).await;
        sent.map_err(|_elapsed| anyhow!("no answer in {limit:?}")).flatten().context(what)
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<EdgeAnswer> {
        let stream = TcpStream::connect(self.addresses.as_slice()).await?;
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, self.http.listen.to_string());
        if let Some(token) = &self.http.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request.body(Full::new(bytes::Bytes::from(body)))?;
        match &self.tls {
            None => exchange_over(TokioIo::new(stream), request).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.map_err(|error| match tls_problem(&error) {
                    Some(problem) => anyhow!(problem),
                    None => anyhow!(error),
                })?;
                exchange_over(TokioIo::new(stream), request).await
            }
        }
    }
}

/// The edge's error text of a refused request.
pub(super) fn refusal(answer: &[u8]) -> String {
    match serde_json::from_slice(answer) {
        Ok(RefusedRequest { error }) => error,
        Err(_) => String::from_utf8_lossy(answer).into_owned(),
    }
}

async fn exchange_over(
    stream: impl Read + Write + Unpin,
    request: Request<Full<bytes::Bytes>>,
) -> anyhow::Result<EdgeAnswer> {
    let (mut sender, connection) = handshake(stream).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!(error))?;
        anyhow::Ok((status, body.to_bytes().to_vec()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        closed = connection => {
            closed?;
            answer.await
        }
    }
}
