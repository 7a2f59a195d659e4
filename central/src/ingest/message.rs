//! Decoding of messages into events, or the reason for refusing them.

use std::borrow::Cow;

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::{Message, jetstream};
use marketprism_schema::{
    CORRECTION_HEADER, CorrectionMark, DataType, Event, EventChecks, EventId, InvalidKind, PayloadEvents,
    WireForm,
};

/// So many are compared with a name faster than the name is hashed.
const FEW_HEADERS: usize = 4;

/// Label of messages without an acknowledgement subject, which did not come from a stream.
pub const NOT_FROM_A_STREAM: &str = "not_from_a_stream";

/// Of a subject's first token.
pub fn data_type(subject: &str) -> Option<DataType> {
    let end = subject.bytes().position(|byte| byte == b'.').unwrap_or(subject.len());
    subject.get(..end)?.parse().ok()
}

pub fn exchange_of(subject: &str) -> &str {
    subject.split('.').nth(1).unwrap_or_default()
}

/// Category of a refusal: label of the dead-letter counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    ContentType,
    Payload,
    Subject,
    /// The message id is that of other events.
    MessageId,
    /// The header of a correction cannot be read.
    Correction,
    /// A value that cannot be true.
    Invalid(InvalidKind),
    /// The TTL of hot would delete the row before it is copied.
    Expired,
    /// A value that its column cannot hold.
    Value,
    Storage,
}

impl Refusal {
    /// All but [`Self::Invalid`].
    pub const WITHOUT_KIND: [Self; 8] = [
        Self::ContentType,
        Self::Payload,
        Self::Subject,
        Self::MessageId,
        Self::Correction,
        Self::Expired,
        Self::Value,
        Self::Storage,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Payload => "payload",
            Self::Subject => "subject",
            Self::MessageId => "message_id",
            Self::Correction => "correction",
            Self::Invalid(kind) => kind.as_str(),
            Self::Expired => "expired",
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
        Self::numbered(message).map(|(_, delivery)| delivery)
    }

    /// With the number of the delivery.
    pub fn numbered(message: &jetstream::Message) -> Option<(u64, Self)> {
        Self::in_subject(message.message.reply.as_ref()?)
    }

    /// `$JS.ACK.{domain}.{account}.{stream}.{consumer}.{deliveries}.{sequence}.{number}.{time}.{pending}`, from earlier brokers without domain and
    /// account. Own code: the library reads all of it, and the time as a date.
    fn in_subject(subject: &str) -> Option<(u64, Self)> {
        let tokens = subject.strip_prefix("$JS.ACK.")?.as_bytes();
        let names = match tokens.iter().filter(|&&byte| byte == b'.').count() {
            6 => 2,
            8.. => 4,
            _ => return None,
        };
        let mut rest = tokens.iter();
        for _ in 0..names {
            rest.find(|&&byte| byte == b'.')?;
        }
        let [delivered, stream_seq, number, published] = [(); 4].map(|()| next_number(&mut rest));
        let published_ns = i64::try_from(published?).ok()?;
        let delivery = Self { stream_seq: stream_seq?, is_redelivered: delivered? > 1, published_ns };
        Some((number?, delivery))
    }
}

/// The number of a token, which a point ends.
fn next_number(rest: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let mut number = None;
    for &byte in rest {
        match byte {
            b'0'..=b'9' => {
                let before = number.unwrap_or(0_u64).checked_mul(10)?;
                number = Some(before.checked_add(u64::from(byte - b'0'))?);
            }
            b'.' => return number,
            _ => return None,
        }
    }
    None
}

pub fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    let Some(headers) = headers else { return "" };
    let value = if headers.len() <= FEW_HEADERS {
        let mut all = headers.iter();
        all.find(|(found, _)| AsRef::<str>::as_ref(*found) == name).and_then(|(_, values)| values.first())
    } else {
        headers.get(name)
    };
    value.map(HeaderValue::as_str).unwrap_or_default()
}

/// Refusal of an event or a message, with its reason.
pub type RefusalReason = (Refusal, String);

/// The events of a message, not decoded.
pub fn split(message: &Message) -> Result<PayloadEvents<'_>, RefusalReason> {
    split_payload(message, &message.payload)
}

/// As [`split`], with the payload apart, so that the message can be moved.
pub fn split_payload<'a>(message: &Message, payload: &'a [u8]) -> Result<PayloadEvents<'a>, RefusalReason> {
    let content_type = header(message.headers.as_ref(), "Content-Type");
    let Some(form) = WireForm::of_message(content_type, payload) else {
        let known = WireForm::ALL.map(WireForm::content_type).join(" or ");
        return Err((Refusal::ContentType, format!("content type {content_type:?} is not {known}")));
    };
    form.split(payload).map_err(|error| (Refusal::Payload, error.to_string()))
}

/// Payload with the event at a place only, so that dead letters of one message differ; the whole one if it cannot be split.
pub fn alone(message: &Message, place: usize) -> Cow<'_, [u8]> {
    split(message).map_or(Cow::Borrowed(&*message.payload), |parts| parts.alone(place))
}

/// Decodes the event at a place of a message.
pub fn decode<'a>(events: &PayloadEvents<'a>, place: usize) -> Result<Event<'a>, RefusalReason> {
    events.event(place).map_err(|error| (Refusal::Payload, error.to_string()))
}

/// Decodes the events of a message that the broker received at `published_ns`, and refuses what cannot be true: whoever may publish may
/// have sent it. One refused event leaves the others.
pub fn read<'a>(
    message: &Message,
    events: &PayloadEvents<'a>,
    published_ns: i64,
) -> Result<Vec<Result<Event<'a>, RefusalReason>>, RefusalReason> {
    let mut all: Vec<Result<Event<'_>, RefusalReason>> = Vec::with_capacity(events.len());
    let mut checks = EventChecks::default();
    for place in 0..events.len() {
        // Checked where it lies: an event is hundreds of bytes.
        match events.event(place) {
            Ok(event) => all.push(Ok(event)),
            Err(error) => all.push(Err((Refusal::Payload, error.to_string()))),
        }
        let Some((last, others)) = all.split_last_mut() else { continue };
        let Ok(event) = last else { continue };
        let before = others.last().and_then(|one| one.as_ref().ok());
        if let Err(refused) = check(message, event, before, published_ns, &mut checks) {
            *last = Err(refused);
        }
    }
    // Under the id of other events the broker would drop these as duplicates. With a refused event the id is not known.
    let found = EventId::parse(header(message.headers.as_ref(), "Nats-Msg-Id"));
    if let Some(found) = found.filter(|_| all.iter().all(Result::is_ok)) {
        let own = EventId::of_message(all.iter().flatten().map(|event| event.header.event_id));
        if found != own {
            let reason =
                format!("Nats-Msg-Id: is {found}, the id of another event or message, allowed: {own}");
            return Err((Refusal::MessageId, reason));
        }
    }
    Ok(all)
}

/// Mark of a message of a correction; `None` for any other.
pub fn correction_mark(message: &Message) -> Option<Result<CorrectionMark, RefusalReason>> {
    let mark = header(message.headers.as_ref(), CORRECTION_HEADER);
    (!mark.is_empty()).then(|| mark.parse().map_err(|error| (Refusal::Correction, error)))
}

/// As [`read`], for an event of a correction: JSON only, and its frame was received long before.
pub fn read_corrected(message: &Message, published_ns: i64) -> Result<Event<'_>, RefusalReason> {
    let event =
        WireForm::Json.decode(&message.payload).map_err(|error| (Refusal::Payload, error.to_string()))?;
    let received_at_ns = event.header.received_at_ns.min(published_ns);
    check(message, &event, None, received_at_ns, &mut EventChecks::default())?;
    Ok(event)
}

/// `before`: the event of the message that was checked last, if it is not refused.
fn check(
    message: &Message,
    event: &Event<'_>,
    before: Option<&Event<'_>>,
    at_ns: i64,
    checks: &mut EventChecks,
) -> Result<(), RefusalReason> {
    let has_its_subject = before.is_some_and(|before| has_subject_of(event, before));
    if !has_its_subject && !subject_agrees(&message.subject, event) {
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
    checks
        .check(event, before, at_ns)
        .map_err(|invalid| (Refusal::Invalid(invalid.kind), invalid.to_string()))
}

fn has_subject_of(event: &Event<'_>, other: &Event<'_>) -> bool {
    event.body.data_type() == other.body.data_type() && event.header.has_market_of(&other.header)
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
    use marketprism_schema::{Body, Decimal, Header, Liquidation, Side, split_packed_header};

    const NOW_NS: i64 = 1_763_800_000_000_000_000;

    fn trade(price: i64) -> Event<'static> {
        let header = Header { timestamp_us: NOW_NS / 1_000, received_at_ns: NOW_NS, ..fixtures::header() };
        let mut event = fixtures::trade(header, Decimal { mantissa: price, scale: 2 });
        event.header.event_id = EventId::of(&event);
        event
    }

    fn payload(form: WireForm, event: &Event<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        form.encode(event, &mut out);
        out
    }

    fn message(subject: &str, header: Option<(&str, &str)>, payload: Vec<u8>) -> Message {
        fixtures::message(subject, header, payload)
    }

    /// The events of a message, or why the message or its only event is refused.
    fn read(message: &Message, published_ns: i64) -> Result<usize, RefusalReason> {
        let events = super::read(message, &split(message)?, published_ns)?;
        if events.len() == 1 { events.into_iter().next().unwrap().map(|_| 1) } else { Ok(events.len()) }
    }

    fn refusal(message: &Message) -> Refusal {
        read(message, NOW_NS).unwrap_err().0
    }

    fn numbered(id: &str) -> Event<'static> {
        let mut event = trade(1);
        let Body::Trade(trade) = &mut event.body else { unreachable!() };
        trade.trade_id = id.to_owned().into();
        event.header.event_id = EventId::of(&event);
        event
    }

    /// The forms that brokers write, and none that they do not.
    #[test]
    fn a_delivery_is_read_from_its_acknowledgement_subject() {
        let read = |subject: &str| {
            let (number, delivery) = Delivery::in_subject(subject)?;
            Some((number, delivery.stream_seq, delivery.is_redelivered, delivery.published_ns))
        };
        let numbers = "1.20.7.1763800000000000001.5";
        let expected = Some((7, 20, false, NOW_NS + 1));
        for names in ["S.C", "_.hash.S.C", "hub.hash.S.C"] {
            assert_eq!(read(&format!("$JS.ACK.{names}.{numbers}")), expected, "{names}");
        }
        assert_eq!(read(&format!("$JS.ACK._.hash.S.C.{numbers}.token.more")), expected);
        let again = read("$JS.ACK.S.C.2.18446744073709551615.8.9.0");
        assert_eq!(again, Some((8, u64::MAX, true, 9)));
        for other in [
            "",
            "_INBOX.a.b",
            "$JS.ACK.S.C.1.20.7.9",
            "$JS.ACK.hash.S.C.1.20.7.9.5",
            "$JS.ACK.S.C.x.20.7.9.5",
            "$JS.ACK.S.C.1..7.9.5",
            "$JS.ACK.S.C.1.18446744073709551616.7.9.5",
            "$JS.ACK.S.C.1.20.7.9223372036854775808.5",
            "$JS.ACK.S.C.1.20.7.-9.5",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    /// Few headers are compared, many are hashed.
    #[test]
    fn a_header_is_found_among_few_and_many() {
        for others in [0, FEW_HEADERS - 1, FEW_HEADERS, 3 * FEW_HEADERS] {
            let mut headers = HeaderMap::new();
            for other in 0..others {
                headers.append(format!("X-{other}"), "other");
            }
            for name in ["Nats-Msg-Id", "Content-Type"] {
                assert_eq!(header(Some(&headers), name), "", "{others}");
                headers.append(name, name);
                headers.append(name, "again");
                assert_eq!(header(Some(&headers), name), name, "{others}");
            }
            assert_eq!(header(Some(&headers), "content-type"), "");
        }
        assert_eq!(header(None, "Nats-Msg-Id"), "");
    }

    #[test]
    fn the_events_of_a_packed_message_are_read_one_by_one_and_its_id_is_theirs() {
        let good = [numbered("1"), numbered("2")];
        let mut bad = numbered("3");
        bad.header.event_id = EventId(9);
        let packed = |events: &[&Event<'_>], id: Option<EventId>| {
            let payload = fixtures::packed(events);
            let mut message =
                message(TRADE_SUBJECT, Some(("Content-Type", "application/x-protobuf")), payload);
            if let Some(id) = id {
                message.headers.as_mut().unwrap().insert("Nats-Msg-Id", id.to_string());
            }
            message
        };
        let [first, second] = [&good[0], &good[1]];
        let own = EventId::of_message(good.iter().map(|event| event.header.event_id));
        for id in [None, Some(own)] {
            assert_eq!(read(&packed(&[first, second], id), NOW_NS), Ok(2));
        }
        for id in [first.header.event_id, EventId(own.0 ^ 1)] {
            assert_eq!(refusal(&packed(&[first, second], Some(id))), Refusal::MessageId);
        }
        let message = packed(&[first, &bad, second], Some(own));
        let found = super::read(&message, &split(&message).unwrap(), NOW_NS).unwrap();
        let kinds: Vec<_> = found.iter().map(|one| one.as_ref().err().map(|(kind, _)| *kind)).collect();
        assert_eq!(kinds, [None, Some(Refusal::Invalid(InvalidKind::EventId)), None]);
    }

    #[test]
    fn dead_letters_of_a_message_have_one_event_each() {
        let events = [numbered("1"), numbered("2")];
        let form = WireForm::Protobuf;
        let payload = fixtures::packed(&[&events[0], &events[1]]);
        let packed = message(TRADE_SUBJECT, Some(("Content-Type", form.content_type())), payload);
        for (place, event) in events.iter().enumerate() {
            assert_eq!(form.decode(&alone(&packed, place)).unwrap(), *event);
        }
        let unknown = message(TRADE_SUBJECT, Some(("Content-Type", "x")), b"all of it".to_vec());
        assert_eq!(&*alone(&unknown, 0), b"all of it");
    }

    #[test]
    fn subject_and_form_must_agree_with_the_payload() {
        let own = TRADE_SUBJECT;
        let packed_payload = payload(WireForm::Protobuf, &trade(1));
        let payload = || payload(WireForm::Json, &trade(1));
        let typed = |value| Some(("Content-Type", value));
        for content_type in [None, typed("application/json"), typed("application/json; charset=utf-8")] {
            assert!(read(&message(own, content_type, payload()), NOW_NS).is_ok(), "{content_type:?}");
        }
        for subject in [
            "orderbook.sim_spot.spot.A-B",
            "trade.other_spot.spot.A-B",
            "trade.sim_spot.perpetual.A-B",
            "trade.sim_spot.spot.C-D",
            "trade.sim_spot.spot",
            "trade.sim_spot.spot.A-B.x",
        ] {
            assert_eq!(refusal(&message(subject, None, payload())), Refusal::Subject, "{subject}");
        }
        let packed = typed(WireForm::Protobuf.content_type());
        assert!(read(&message(own, packed, packed_payload.clone()), NOW_NS).is_ok());
        assert_eq!(refusal(&message(own, packed, payload())), Refusal::Payload);
        assert!(
            read(&message(own, None, packed_payload.clone()), NOW_NS).is_ok(),
            "recognized by its first byte"
        );
        assert_eq!(
            refusal(&message(own, typed("application/json"), packed_payload.clone())),
            Refusal::Payload
        );
        assert_eq!(refusal(&message(own, typed("application/avro"), payload())), Refusal::ContentType);
        assert_eq!(refusal(&message(own, None, b"{".to_vec())), Refusal::Payload);
    }

    /// Events of a message share their header, and not their type.
    #[test]
    fn each_event_of_a_message_agrees_with_its_subject() {
        let liquidation = Liquidation {
            side: Side::Buy,
            price: Decimal { mantissa: 1, scale: 0 },
            quantity: Decimal { mantissa: 1, scale: 0 },
            liquidation_time_us: None,
            liquidation_id: "".into(),
        };
        let first = trade(1);
        let mut other = Event { body: Body::Liquidation(liquidation), ..first.clone() };
        other.header.event_id = EventId::of(&other);
        let one = payload(WireForm::Protobuf, &first);
        let payload =
            [&one[..], split_packed_header(&payload(WireForm::Protobuf, &other)).unwrap().1].concat();
        let message = message(TRADE_SUBJECT, None, payload);
        let events = super::read(&message, &split(&message).unwrap(), NOW_NS).unwrap();
        let kinds: Vec<Option<Refusal>> =
            events.into_iter().map(|event| event.err().map(|(refusal, _)| refusal)).collect();
        assert_eq!(kinds, [None, Some(Refusal::Subject)]);
    }

    #[test]
    fn a_false_event_and_the_id_of_another_event_are_refused() {
        let negative = payload(WireForm::Json, &trade(-1));
        let refused = refusal(&message(TRADE_SUBJECT, None, negative));
        assert_eq!(refused, Refusal::Invalid(InvalidKind::Price));

        let (event, json) = (trade(1), payload(WireForm::Json, &trade(1)));
        let own = event.header.event_id;
        for (message_id, is_legal) in
            [(own.to_string(), true), ("again-7".to_owned(), true), (EventId(own.0 ^ 1).to_string(), false)]
        {
            let message = message(TRADE_SUBJECT, Some(("Nats-Msg-Id", &message_id)), json.clone());
            let found = read(&message, NOW_NS).map_err(|(refusal, _)| refusal);
            assert_eq!(found, if is_legal { Ok(1) } else { Err(Refusal::MessageId) }, "{message_id}");
        }
        let late = read(&message(TRADE_SUBJECT, None, json), NOW_NS + 400_000 * 1_000_000_000).unwrap_err();
        assert_eq!(late.0, Refusal::Invalid(InvalidKind::Time), "{}", late.1);
    }
}
