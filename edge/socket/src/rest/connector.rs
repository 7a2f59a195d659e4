//! The dialler as the HTTP client's connector.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use tower_service::Service;
use url::Url;

use crate::dial::{Dialed, Dialer};
use crate::error::DialError;

#[derive(Debug, Clone)]
pub(super) struct RequestConnector(pub(super) Arc<Dialer>);

impl Service<Uri> for RequestConnector {
    type Response = Dialed;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Dialed, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = Arc::clone(&self.0);
        Box::pin(async move {
            let unusable = |error: url::ParseError| DialError::Tcp {
                target: uri.to_string(),
                reason: error.to_string(),
            };
            dialer.dial_requests(&Url::parse(&uri.to_string()).map_err(unusable)?).await
        })
    }
}
