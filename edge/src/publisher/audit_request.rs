//! The publish of one audit message, with its acknowledgement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue};

use super::audits::STREAM;
use super::outbox::PendingAudit;
use crate::broker::{BrokerLink, PublishReply, StreamMessage};
use crate::limits::{ACK_WAIT_MAX, AUDIT_ACK};

pub(super) struct AnsweredAudit {
    pub(super) message_id: String,
    pub(super) reply: PublishReply<'static>,
    pub(super) took: Duration,
}

pub(super) async fn publish_audit(
    client: Client,
    link: Arc<BrokerLink>,
    subject: String,
    message: PendingAudit,
    wait: Duration,
) -> AnsweredAudit {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, HeaderValue::from(message.message_id.as_str()));
    let request = StreamMessage { stream: STREAM, subject, headers, payload: message.payload };
    let sent = Instant::now();
    let reply = link.publish(&client, request, wait).await;
    AnsweredAudit { message_id: message.message_id, reply, took: sent.elapsed() }
}

/// Twice the time of the last answer. Without one in time it doubles: an audit over a slow link would be sent for ever, and never seen as stored.
pub(super) fn next_ack_wait(wait: Duration, took: Duration) -> Duration {
    took.min(wait).saturating_mul(2).clamp(AUDIT_ACK, ACK_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_that_needs_longer_than_the_first_wait_is_waited_for() {
        let (mut wait, needs) = (AUDIT_ACK, Duration::from_secs(13));
        let mut tries = 1;
        while wait < needs {
            wait = next_ack_wait(wait, wait);
            tries += 1;
        }
        assert_eq!(tries, 3);
        assert!(next_ack_wait(wait, needs) >= needs, "the next one is sent once");
        assert_eq!(next_ack_wait(ACK_WAIT_MAX, ACK_WAIT_MAX), ACK_WAIT_MAX);
        assert_eq!(next_ack_wait(wait, Duration::from_millis(10)), AUDIT_ACK);
    }
}
