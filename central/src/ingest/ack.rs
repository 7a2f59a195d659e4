//! Acknowledgements, sent in groups.

use async_nats::jetstream::AckKind;
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::time::timeout;

use crate::limits;

/// Sends one kind of acknowledgement for many messages; returns the number not sent within the timeout.
///
/// The broker does not confirm them: a lost one causes a redelivery, which is recognized.
pub async fn acknowledge<'a>(
    client: &Client,
    replies: impl ExactSizeIterator<Item = &'a Subject>,
    kind: AckKind,
) -> usize {
    let payload = Bytes::from(kind);
    let all = replies.len();
    let mut sent = 0;
    let sending = async {
        for reply in replies {
            if let Err(error) = client.publish(reply.clone(), payload.clone()).await {
                tracing::debug!(%error, "cannot send an acknowledgement");
                return;
            }
            sent += 1;
        }
    };
    if timeout(limits::ACK_TIMEOUT, sending).await.is_err() {
        tracing::warn!(all, "sending acknowledgements timed out; their messages will be redelivered");
    }
    all - sent
}
