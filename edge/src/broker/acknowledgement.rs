//! The publish of one message, until its stream has acknowledged it. Events are pipelined, and take their replies by the same rule: streams of
//! another JetStream domain with these subjects answer too, and often first.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{BrokerLink, PublishReply, message_bytes};

/// Replies to one message that are read, above the leaf nodes of a centre. More: the message counts as refused.
const REPLIES_MAX: usize = 64;

pub(crate) struct StreamMessage {
    pub(crate) stream: &'static str,
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl BrokerLink {
    /// Never foreign: the reply of the message's stream, or a refusal. Ends within `wait`.
    pub(crate) async fn publish(
        &self,
        client: &Client,
        message: StreamMessage,
        wait: Duration,
    ) -> PublishReply<'static> {
        let mut refusal = None;
        let replied = timeout(wait, self.read_replies(client, message, &mut refusal)).await;
        match replied {
            Ok(Ok(Some(reply))) => reply,
            Ok(Err(error)) => PublishReply::Refused { text: format!("{error:#}").into() },
            Ok(Ok(None)) | Err(_) => refusal.unwrap_or_else(|| PublishReply::Refused {
                text: format!("no acknowledgement within {wait:?}").into(),
            }),
        }
    }

    /// The reply after which no other counts. `refusal`: the last of those before it, and a foreign one only without another.
    async fn read_replies(
        &self,
        client: &Client,
        StreamMessage { stream, subject, headers, payload }: StreamMessage,
        refusal: &mut Option<PublishReply<'static>>,
    ) -> anyhow::Result<Option<PublishReply<'static>>> {
        let (inbox, bytes) = (client.new_inbox(), message_bytes(&headers, &payload));
        let mut replies = client.subscribe(inbox.clone()).await?.take(REPLIES_MAX);
        client.publish_with_reply_and_headers(subject.clone(), inbox, headers, payload).await?;
        while let Some(message) = replies.next().await {
            match self.reply(&message, stream, || bytes).into_owned() {
                PublishReply::Foreign { text } => {
                    self.note_foreign(stream, &subject, &text);
                    refusal.get_or_insert(PublishReply::Refused { text });
                }
                // Errors name no domain: a leaf node's stream may be the full one.
                reply @ PublishReply::Refused { .. } if self.domain.is_some() => *refusal = Some(reply),
                reply => return Ok(Some(reply)),
            }
        }
        Ok(None)
    }

    fn note_foreign(&self, stream: &'static str, subject: &str, text: &str) {
        self.stalls.refused(stream, text);
        let mut lines = self.foreign_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = lines.allow(Instant::now()) {
            tracing::warn!(
                subject,
                stream,
                text,
                held_back,
                "acknowledgement of another stream, it does not count"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::{self, stream};
    use marketprism_config::Nats;
    use marketprism_tests::broker::Broker;
    use marketprism_tests::wait::eventually;

    use super::*;
    use crate::broker::connect;
    use crate::limits::AUDIT_ACK;

    async fn create_stream(broker: &Broker, name: &str) {
        let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        let subjects = vec!["audit.>".to_owned()];
        let config = stream::Config { name: name.to_owned(), subjects, ..Default::default() };
        context.create_stream(config).await.unwrap();
    }

    fn message(number: usize) -> StreamMessage {
        let (subject, payload) = ("audit.e1".to_owned(), number.to_string().into());
        StreamMessage { stream: "AUDIT", subject, headers: HeaderMap::new(), payload }
    }

    /// The leaf node has its answer before the centre has the message. A retry would not help: it answers first each time.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_centre_acknowledges_a_message_that_a_stream_of_a_leaf_node_answered_first() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (mut hub, leaf) = Broker::hub_and_leaf([folders[0].path(), folders[1].path()]).await;
        create_stream(&hub, "AUDIT").await;
        create_stream(&leaf, "AUDIT").await;
        let nats = Nats {
            urls: vec![leaf.url().as_str().into()],
            connect_timeout: Duration::from_secs(2),
            jetstream_domain: Some("hub".to_owned()),
            ..Nats::default()
        };
        let (client, link) = connect(&nats, "test").await.unwrap();
        let publish = async |number| link.publish(&client, message(number), AUDIT_ACK).await;
        eventually("the centre is reached through the leaf node", || async {
            let reply = publish(0).await;
            matches!(reply, PublishReply::Stored { .. }).then_some(()).ok_or_else(|| format!("{reply:?}"))
        })
        .await;
        for number in 1..=20 {
            let reply = publish(number).await;
            assert!(matches!(reply, PublishReply::Stored { .. }), "message {number}: {reply:?}");
        }

        hub.kill();
        let PublishReply::Refused { text } = publish(21).await else { panic!("stored without the centre") };
        assert!(text.contains("domain leaf, wanted hub"), "{text}");
    }
}
