//! The command `health`: asks a running edge, for container engines and scripts.

use anyhow::bail;
use hyper::{Method, StatusCode};

use super::edge_client::{EdgeArguments, EdgeClient, refusal};
use crate::limits::HEALTH_ANSWER;

const PATH: &str = "/health";

/// Returns the page, and true if the edge is healthy or degraded.
pub(super) async fn health(arguments: &EdgeArguments) -> anyhow::Result<(String, bool)> {
    let client = EdgeClient::of(arguments)?;
    let what = client.request_name(&Method::GET, PATH);
    let (status, answer) = client.send(Method::GET, PATH, Vec::new(), HEALTH_ANSWER).await?;
    if !matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) {
        bail!("{what}: {status}: {}", refusal(&answer));
    }
    Ok((String::from_utf8_lossy(&answer).into_owned(), status == StatusCode::OK))
}
