//! Quotes: one whenever the best bid or ask of a book is another, and none otherwise.

use marketprism_adapter_host::contract::{Book, BookChange, Payload};
use marketprism_book::{BookSettings, SequenceRule, SnapshotSource};
use marketprism_edge::records::RecordBuilder;
use marketprism_schema::{Body, DataType, Quote};

use crate::deltas::builder;
use crate::records::AT_US;

const SECOND_NS: i64 = 1_000_000_000;

/// One book and its next update.
struct QuotedBook {
    builder: RecordBuilder,
    id: i64,
    seconds: i64,
    price_scale: u8,
}

impl QuotedBook {
    fn new(bids: &[i64], asks: &[i64]) -> Self {
        let builder = builder(BookSettings::new(SequenceRule::Chained, SnapshotSource::InBand, 5));
        let mut book = Self { builder, id: 100, seconds: 0, price_scale: 2 };
        assert_eq!(book.update(BookChange::Snapshot, bids, asks).len(), 1, "each epoch begins with one");
        book
    }

    fn now_ns(&self) -> i64 {
        AT_US * 1_000 + self.seconds * SECOND_NS
    }

    /// A second after the one before, at which the builder gave these quotes.
    fn update(&mut self, change: BookChange, bids: &[i64], asks: &[i64]) -> Vec<Quote> {
        let previous_id = Some(self.id);
        self.id += 1;
        self.seconds += 1;
        let count = |levels: &[i64]| u32::try_from(levels.len() / 2).unwrap();
        let payload = Payload::Book(Book {
            instrument: 0,
            change,
            time_us: Some(AT_US + self.id),
            first_id: self.id,
            last_id: self.id,
            previous_id,
            checksum: None,
            price_scale: self.price_scale,
            quantity_scale: 3,
            levels_at: 0,
            bids: count(bids),
            asks: count(asks),
        });
        let (at_ns, mut records) = (self.now_ns(), Vec::new());
        self.builder.event(&payload, &[bids, asks].concat(), at_ns, at_ns, &mut records);
        let quotes = records.iter().filter(|record| record.data_type == DataType::Quote);
        let read = quotes.map(|record| {
            assert_eq!((record.sequence, record.received_at_ns), (Some(self.id), at_ns));
            match record.form.decode(&record.payload).unwrap().body {
                Body::Quote(quote) => quote,
                other => panic!("{other:?}"),
            }
        });
        read.collect()
    }

    /// Bid and ask of the quote after a change, if there is one.
    fn change(&mut self, bids: &[i64], asks: &[i64]) -> Option<[Option<[i64; 2]>; 2]> {
        let quotes = self.update(BookChange::Delta, bids, asks);
        assert!(quotes.len() <= 1, "{quotes:?}");
        quotes.first().map(|quote| [quote.bid, quote.ask])
    }
}

#[test]
fn only_another_best_price_or_quantity_makes_a_quote() {
    let mut book = QuotedBook::new(&[100, 1, 99, 2], &[102, 3, 103, 4]);
    let (bid, ask) = (Some([100, 1]), Some([102, 3]));
    assert_eq!(book.change(&[99, 7], &[103, 8]), None, "behind the best levels");
    assert_eq!(book.change(&[100, 1], &[]), None, "the same again");
    assert_eq!(book.change(&[100, 5], &[]), Some([Some([100, 5]), ask]), "another quantity");
    assert_eq!(book.change(&[100, 1], &[101, 9]), Some([bid, Some([101, 9])]), "another price");
    assert_eq!(book.change(&[], &[101, 0]), Some([bid, ask]), "the best level is deleted");
    assert_eq!(book.change(&[], &[102, 0, 103, 0]), Some([bid, None]), "a side without levels");
    assert_eq!(book.change(&[100, 0, 99, 0], &[]), Some([None, None]));
    assert_eq!(book.change(&[100, 1], &[102, 3]), Some([bid, ask]));
}

#[test]
fn a_crossed_book_has_no_quote_until_it_is_uncrossed_and_a_locked_one_has() {
    let mut book = QuotedBook::new(&[100, 1], &[102, 1]);
    assert_eq!(book.change(&[103, 1], &[]), None, "a moment between two updates");
    assert_eq!(book.change(&[], &[102, 0, 103, 2]), Some([Some([103, 1]), Some([103, 2])]), "locked");
}

/// The queue may have dropped the quote that is still true.
#[test]
fn a_quote_is_repeated_once_after_a_loss() {
    let mut book = QuotedBook::new(&[100, 1, 99, 2], &[102, 3]);
    book.builder.records_lost(book.now_ns());
    assert_eq!(book.change(&[99, 3], &[]), None, "more may be lost yet");
    book.seconds += 10;
    assert_eq!(book.change(&[99, 2], &[]), Some([Some([100, 1]), Some([102, 3])]), "after the pause");
    assert_eq!(book.change(&[99, 4], &[]), None, "one is enough");
}

/// The scale of a book grows with the prices that need it: the numbers are the same.
#[test]
fn another_scale_alone_makes_no_quote() {
    let mut book = QuotedBook::new(&[100, 1], &[102, 1, 103, 2]);
    book.price_scale = 3;
    assert_eq!(book.change(&[], &[1_035, 1]), None);
    assert_eq!(book.change(&[1_001, 1], &[]), Some([Some([1_001, 1]), Some([1_020, 1])]));
}
