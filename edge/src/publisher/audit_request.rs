//! The publish of one audit message, with its acknowledgement.

use std::sync::Arc;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue};

use super::audits::STREAM;
use super::outbox::PendingAudit;
use crate::broker::{BrokerLink, PublishReply, StreamMessage};

pub(super) struct AnsweredAudit {
    pub(super) message_id: String,
    pub(super) reply: PublishReply<'static>,
}

pub(super) async fn publish_audit(
    client: Client,
    link: Arc<BrokerLink>,
    subject: String,
    message: PendingAudit,
) -> AnsweredAudit {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, HeaderValue::from(message.message_id.as_str()));
    let request = StreamMessage { stream: STREAM, subject, headers, payload: message.payload };
    AnsweredAudit { reply: link.publish(&client, request).await, message_id: message.message_id }
}
