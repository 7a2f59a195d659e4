use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_sdk::testkit::{self, Session};
use marketprism_adapter_sdk::{Book, BookChange, Payload};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

const DEPTH: usize = 10;

/// CRC-32 of IEEE, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// A JSON number at so many decimal places, without the point: text in, text out.
fn digits(number: &str, places: usize) -> String {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    assert_eq!(exponent, "0", "the sequence is written without exponents");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    assert!(fraction.len() <= places, "{number} has more than {places} places");
    format!("{whole}{fraction:0<places$}")
}

/// One book, best first on either side. Keys and values are digits, padded so that they compare as numbers.
#[derive(Default)]
struct Sides {
    bids: BTreeMap<String, String>,
    asks: BTreeMap<String, String>,
}

impl Sides {
    fn set(&mut self, bid: bool, price: &str, quantity: &str) {
        let side = if bid { &mut self.bids } else { &mut self.asks };
        let price = format!("{price:0>30}");
        if quantity.bytes().all(|digit| digit == b'0') {
            side.remove(&price);
        } else {
            side.insert(price, quantity.to_owned());
        }
    }

    /// The venue keeps no more, and says nothing of what falls out.
    fn cut(&mut self) {
        while self.bids.len() > DEPTH {
            self.bids.pop_first();
        }
        while self.asks.len() > DEPTH {
            self.asks.pop_last();
        }
    }

    fn checksum(&self) -> u32 {
        let mut text = String::new();
        for (price, quantity) in self.asks.iter().take(10).chain(self.bids.iter().rev().take(10)) {
            text += price.trim_start_matches('0');
            text += quantity.trim_start_matches('0');
        }
        crc32(text.as_bytes())
    }
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: Vec<Item<'a>>,
}

#[derive(serde::Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    bids: Vec<Level<'a>>,
    asks: Vec<Level<'a>>,
    checksum: u32,
}

#[derive(serde::Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    qty: &'a RawValue,
}

/// Applies a book event as the edge does, its mantissas written out at the event's scales.
fn apply(sides: &mut Sides, book: &Book, levels: &[i64]) {
    if book.change == BookChange::Snapshot {
        *sides = Sides::default();
    }
    let start = book.levels_at as usize;
    for (index, level) in levels[start..].chunks(2).take((book.bids + book.asks) as usize).enumerate() {
        sides.set(index < book.bids as usize, &level[0].to_string(), &level[1].to_string());
    }
    sides.cut();
}

#[test]
fn the_venues_checksum_holds_after_every_update() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    let list = testkit::read(&folder.join("kraken_spot.instruments.jsonl")).unwrap();
    let feed = marketprism_adapter_sdk::Feed {
        symbols: vec!["BTC-USD".to_owned()],
        depth: DEPTH as u32,
        ..testkit::whole_feed::<Kraken>("kraken_spot").unwrap()
    };
    let mut session = Session::<Kraken>::open(&feed, &list).unwrap();
    assert_eq!(session.plan.resyncs[0].depth_limit, Some(10));
    let frames = session.frames(&testkit::read(&folder.join("kraken_spot.depth10.jsonl")).unwrap());
    let normalized = session.normalize(&frames, 16);
    assert_eq!((normalized.events.len(), normalized.notes.len()), (frames.len(), 0));
    let (mut raw, mut ours, mut fell_out) = (Sides::default(), Sides::default(), 0);
    for (frame, event) in frames.iter().zip(&normalized.events) {
        let message: Message<'_> = serde_json::from_slice(&frame.bytes).unwrap();
        let item = &message.data[0];
        if message.kind == "snapshot" {
            raw = Sides::default();
        }
        for (bid, side) in [(true, &item.bids), (false, &item.asks)] {
            for level in side {
                raw.set(bid, &digits(level.price.get(), 1), &digits(level.qty.get(), 8));
            }
        }
        fell_out += raw.bids.len().saturating_sub(DEPTH) + raw.asks.len().saturating_sub(DEPTH);
        raw.cut();
        assert_eq!(raw.checksum(), item.checksum, "the sequence is the venue's: frame {}", event.frame);
        let Payload::Book(book) = &event.payload else { panic!("{event:?}") };
        apply(&mut ours, book, &normalized.levels);
        assert_eq!(book.checksum, Some(i64::from(item.checksum)));
        assert_eq!(ours.checksum(), item.checksum, "frame {}", event.frame);
    }
    assert!(fell_out > 5, "the sequence exercises the depth: {fell_out}");
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn snapshots_of_the_venue_have_its_checksum_at_the_places_of_each_pair() {
    let frames = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames/kraken_spot.snapshots.jsonl");
    let mut session = crate::open(&crate::feed("kraken_spot", &["BTC-USD", "ETH-USD", "USDG-USD"]));
    let frames = session.frames(&testkit::read(&frames).unwrap());
    let normalized = session.normalize(&frames, 16);
    assert_eq!((normalized.events.len(), normalized.notes.len()), (3, 0));
    for event in &normalized.events {
        let (Payload::Book(book), mut sides) = (&event.payload, Sides::default()) else {
            panic!("{event:?}")
        };
        apply(&mut sides, book, &normalized.levels);
        assert_eq!(Some(i64::from(sides.checksum())), book.checksum);
    }
}
