//! The publish of one audit message, with its acknowledgement.

use std::sync::Arc;

use async_nats::client::RequestErrorKind;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, HeaderMap, HeaderValue, Request};
use tokio::time::timeout;

use super::audits::STREAM;
use super::events::NO_STREAM;
use super::outbox::PendingAudit;
use crate::broker::{BrokerLink, PublishReply};
use crate::limits::AUDIT_ACK;

pub(super) enum AuditSendResult {
    /// Its sequence; `None`: the stream had the message before.
    Stored(Option<u64>),
    Retry(String),
    Rejected(String),
}

pub(super) struct AnsweredAudit {
    pub(super) message_id: String,
    pub(super) result: AuditSendResult,
}

/// Ends within twice [`AUDIT_ACK`].
pub(super) async fn publish_audit(
    client: Client,
    link: Arc<BrokerLink>,
    subject: String,
    message: PendingAudit,
) -> AnsweredAudit {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, HeaderValue::from(message.message_id.as_str()));
    let request = Request::new().payload(message.payload).headers(headers).timeout(Some(AUDIT_ACK));
    let no_stream = || AuditSendResult::Retry(NO_STREAM.to_owned());
    let result = match timeout(AUDIT_ACK * 2, client.send_request(subject, request)).await {
        Ok(Ok(answer)) => match link.reply(&answer, STREAM) {
            PublishReply::Stored { duplicate, sequence } => {
                AuditSendResult::Stored((!duplicate).then_some(sequence))
            }
            PublishReply::Rejected { text } => AuditSendResult::Rejected(text.into_owned()),
            PublishReply::Refused { text } => AuditSendResult::Retry(text.into_owned()),
            PublishReply::NoStream => no_stream(),
        },
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => no_stream(),
        Ok(Err(error)) => AuditSendResult::Retry(error.to_string()),
        Err(_elapsed) => AuditSendResult::Retry(format!("not sent within {:?}", AUDIT_ACK * 2)),
    };
    AnsweredAudit { message_id: message.message_id, result }
}
