//! Decoding of messages into events, or the reason for refusing them.

use async_nats::header::HeaderMap;
use async_nats::{Message, jetstream};
use marketprism_schema::{Event, WireForm};

/// Category of a refusal: label of the dead-letter counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    ContentType,
    Payload,
    Subject,
    Value,
    Storage,
}

impl Refusal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Payload => "payload",
            Self::Subject => "subject",
            Self::Value => "value",
            Self::Storage => "storage",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    pub stream_seq: u64,
    pub is_redelivered: bool,
    /// Receive time of the broker, nanoseconds since 1970 UTC.
    pub published_ns: i64,
}

impl Delivery {
    /// Parses the acknowledgement subject. `None` if the message did not come from a stream.
    pub fn of(message: &jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        Some(Self {
            stream_seq: info.stream_sequence,
            is_redelivered: info.delivered > 1,
            published_ns: i64::try_from(info.published.unix_timestamp_nanos()).ok()?,
        })
    }
}

pub fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    headers.and_then(|headers| headers.get(name)).map(|value| value.as_str()).unwrap_or_default()
}

/// Decodes the event of a message and checks that its subject agrees with the payload.
pub fn read(message: &Message) -> Result<Event<'_>, (Refusal, String)> {
    let content_type = header(message.headers.as_ref(), "Content-Type");
    let Some(form) = WireForm::of_content_type(content_type) else {
        let known = WireForm::ALL.map(WireForm::content_type).join(" or ");
        return Err((Refusal::ContentType, format!("content type {content_type:?} is not {known}")));
    };
    let event = form.decode(&message.payload).map_err(|error| (Refusal::Payload, error.to_string()))?;
    if !subject_agrees(&message.subject, &event) {
        let header = &event.header;
        let of_payload = format!(
            "{}.{}.{}.{}",
            event.body.data_type(),
            header.exchange,
            header.market_type,
            header.symbol
        );
        let reason = format!("subject {:?} disagrees with the payload's {of_payload:?}", &*message.subject);
        return Err((Refusal::Subject, reason));
    }
    Ok(event)
}

fn subject_agrees(subject: &str, event: &Event<'_>) -> bool {
    let header = &event.header;
    let expected =
        [event.body.data_type().as_str(), &*header.exchange, header.market_type.as_str(), &*header.symbol];
    subject.split('.').eq(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, TRADE_SUBJECT};
    use marketprism_schema::Decimal;

    fn payload(form: WireForm) -> Vec<u8> {
        let mut out = Vec::new();
        form.encode(&fixtures::trade(fixtures::header(), Decimal::default()), &mut out);
        out
    }

    fn message(subject: &str, content_type: Option<&str>, payload: Vec<u8>) -> Message {
        fixtures::message(subject, content_type.map(|value| ("Content-Type", value)), payload)
    }

    #[test]
    fn subject_and_form_must_agree_with_the_payload() {
        let own = TRADE_SUBJECT;
        let packed_payload = payload(WireForm::Protobuf);
        let payload = || payload(WireForm::Json);
        for content_type in [None, Some("application/json"), Some("application/json; charset=utf-8")] {
            assert!(read(&message(own, content_type, payload())).is_ok(), "{content_type:?}");
        }
        for subject in [
            "orderbook.sim_spot.spot.A-B",
            "trade.other_spot.spot.A-B",
            "trade.sim_spot.perpetual.A-B",
            "trade.sim_spot.spot.C-D",
            "trade.sim_spot.spot",
            "trade.sim_spot.spot.A-B.x",
        ] {
            assert_eq!(
                read(&message(subject, None, payload())).unwrap_err().0,
                Refusal::Subject,
                "{subject}"
            );
        }
        let packed = Some(WireForm::Protobuf.content_type());
        assert!(read(&message(own, packed, packed_payload.clone())).is_ok());
        assert_eq!(read(&message(own, packed, payload())).unwrap_err().0, Refusal::Payload);
        assert_eq!(read(&message(own, None, packed_payload.clone())).unwrap_err().0, Refusal::Payload);
        let other = message(own, Some("application/avro"), payload());
        assert_eq!(read(&other).unwrap_err().0, Refusal::ContentType);
        assert_eq!(read(&message(own, None, b"{".to_vec())).unwrap_err().0, Refusal::Payload);
    }
}
