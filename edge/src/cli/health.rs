//! The command `health`: asks a running edge, for container engines and scripts.

use anyhow::bail;
use clap::Args;
use hyper::{Method, StatusCode};

use super::edge_client::{EdgeArguments, EdgeClient, refusal};
use crate::limits::HEALTH_ANSWER;

#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    edge: EdgeArguments,
    /// Ask if it is ready: health has a grace period after the start. Exit status 1 while broker or venues are not connected.
    #[arg(long)]
    ready: bool,
}

/// Returns the page, and true if the edge is healthy or degraded, or ready.
pub(super) async fn health(arguments: &HealthArguments) -> anyhow::Result<(String, bool)> {
    let path = if arguments.ready { "/ready" } else { "/health" };
    let client = EdgeClient::of(&arguments.edge)?;
    let what = client.request_name(&Method::GET, path);
    let (status, answer) = client.send(Method::GET, path, Vec::new(), HEALTH_ANSWER).await?;
    if !matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) {
        bail!("{what}: {status}: {}", refusal(&answer));
    }
    Ok((String::from_utf8_lossy(&answer).into_owned(), status == StatusCode::OK))
}
