//! Events, levels and notes of a batch, built frame by frame.

use crate::cursor::{Cursor, ParseError, ParseResult};
use crate::object::{Object, each_element};
use crate::types::{
    Event, Frames, Ignored, Malformed, Normalized, Note, Payload, Remark, Request, VenueError,
};

/// One frame of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Text of the message or answer.
    pub bytes: &'a [u8],
    /// Position in the plan: connections first, then polls, then resyncs.
    pub source: u32,
    /// Receive time at the edge.
    pub received_at_ns: i64,
}

/// Collects events, levels and notes. Everything that a malformed frame or element had added is removed.
#[derive(Debug)]
pub struct Output {
    events: Vec<Event>,
    levels: Vec<i64>,
    notes: Vec<Note>,
    frame: u32,
    received_at_ns: i64,
    /// First note of the current frame.
    first_note: usize,
    /// Malformed elements of the current frame.
    malformed: usize,
    /// See [`Output::changes_book`].
    book: Option<u32>,
}

/// Lengths of the lists of an output.
#[derive(Clone, Copy)]
struct OutputMark {
    events: usize,
    levels: usize,
    notes: usize,
}

impl Output {
    /// Adds an event of the current frame.
    #[inline]
    pub fn event(&mut self, payload: Payload) {
        self.events.push(Event { frame: self.frame, payload });
    }

    /// When the current frame was received: the time of a state whose message has none.
    pub fn received_us(&self) -> i64 {
        self.received_at_ns / 1000
    }

    /// Position of the next level in the shared list.
    #[inline(always)]
    pub fn levels_at(&self) -> usize {
        self.levels.len()
    }

    /// Adds a level of a book: price and quantity mantissa.
    #[inline(always)]
    pub fn level(&mut self, price: i64, quantity: i64) {
        self.levels.extend_from_slice(&[price, quantity]);
    }

    /// The levels from this place on, each a price and a quantity.
    pub fn levels_from(&self, levels_at: usize) -> &[i64] {
        self.levels.get(levels_at..).unwrap_or(&[])
    }

    /// Moves the first `count` levels from this place on after all others. Two copies of memory: a rotation takes three, or a loop, which cost a
    /// sandbox more.
    pub(crate) fn rotate_levels(&mut self, levels_at: usize, count: usize) {
        let (all, rest_at) = (self.levels.len(), levels_at + 2 * count);
        if rest_at <= all {
            self.levels.extend_from_within(levels_at..rest_at);
            self.levels.copy_within(rest_at.., levels_at);
            self.levels.truncate(all);
        }
    }

    /// Removes the levels from this place on.
    #[inline(always)]
    pub fn truncate_levels(&mut self, levels_at: usize) {
        self.levels.truncate(levels_at);
    }

    /// The current frame, or a part of it, holds nothing to publish. A reason is noted once a frame, however many parts have it.
    pub fn ignored(&mut self, reason: Ignored) {
        let remark = Remark::Ignored(reason);
        let of_frame = self.notes.get(self.first_note..).unwrap_or_default();
        if !of_frame.iter().any(|note| note.remark == remark) {
            self.note(remark);
        }
    }

    /// The object that is the whole frame; none for any other JSON, which is noted as of an unknown kind.
    ///
    /// # Errors
    /// The frame is not JSON.
    pub fn object<'a>(&mut self, frame: &'a [u8]) -> ParseResult<Option<Object<'a>>> {
        let mut cursor = Cursor::new(frame);
        if cursor.peek() == b'{' {
            return Object::whole(frame).map(Some);
        }
        cursor.skip()?;
        cursor.end()?;
        self.ignored(Ignored::UnknownKind);
        Ok(None)
    }

    /// The venue reported an error.
    pub fn venue_error(&mut self, code: impl Into<String>, text: impl Into<String>) {
        self.note(Remark::VenueError(VenueError { code: code.into(), text: text.into() }));
    }

    /// The current element changes this instrument's book, which has no sequence numbers: if it cannot be read, the book restarts.
    pub fn changes_book(&mut self, instrument: u32) {
        self.book = Some(instrument);
    }

    /// A text to send back on the frame's connection.
    pub fn reply(&mut self, text: impl Into<String>) {
        self.note(Remark::Reply(text.into()));
    }

    /// The answer is one page of several: this request gets the next one.
    pub fn follow_up(&mut self, request: Request) {
        self.note(Remark::FollowUp(request));
    }

    /// Adds a note of the current frame. Quotes of the frame are cut to the length that an edge accepts.
    pub fn note(&mut self, remark: Remark) {
        let remark = match remark {
            Remark::VenueError(error) => {
                Remark::VenueError(VenueError { code: quoted(error.code), text: quoted(error.text) })
            }
            Remark::Closing(reason) => Remark::Closing(quoted(reason)),
            other => other,
        };
        self.notes.push(Note { frame: self.frame, remark });
    }

    /// Runs `each` at every element of the array that comes next; returns their number. An element that cannot be read costs only itself:
    /// what it had added is removed, and a note names its place.
    ///
    /// # Errors
    /// The array or an element is not JSON.
    #[inline(always)]
    pub fn each_item<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        mut each: impl FnMut(&mut Output, &mut Cursor<'a>) -> ParseResult<()>,
    ) -> ParseResult<usize> {
        each_element(cursor, |cursor| {
            let (start, mark) = (*cursor, self.mark());
            self.book = None;
            match each(self, cursor) {
                Ok(()) => Ok(()),
                Err(error) => self.leave_out(cursor, start, mark, error),
            }
        })
    }

    #[cold]
    fn leave_out<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        start: Cursor<'a>,
        mark: OutputMark,
        error: ParseError,
    ) -> ParseResult<()> {
        *cursor = start;
        cursor.skip()?;
        self.take_back(mark);
        self.malformed += 1;
        if self.malformed <= MALFORMED_MAX {
            self.malformed(error);
            if let Some(instrument) = self.book.take() {
                self.note(Remark::RestartBook(instrument));
            }
        } else {
            self.count_with_last(error);
        }
        Ok(())
    }

    /// One more malformed element than the frame may have notes. Without a restart of its own it restarts all unnumbered books of the
    /// connection.
    fn count_with_last(&mut self, error: ParseError) {
        let of_frame = self.notes.get_mut(self.first_note..).unwrap_or_default();
        let last = of_frame.iter_mut().rev().find_map(|note| match &mut note.remark {
            Remark::Malformed(malformed) => Some(malformed),
            _ => None,
        });
        match last {
            Some(last) => last.count = last.count.saturating_add(1),
            None => self.malformed(error),
        }
    }

    fn mark(&self) -> OutputMark {
        OutputMark { events: self.events.len(), levels: self.levels.len(), notes: self.notes.len() }
    }

    fn take_back(&mut self, mark: OutputMark) {
        self.events.truncate(mark.events);
        self.levels.truncate(mark.levels);
        self.notes.truncate(mark.notes);
    }

    fn malformed(&mut self, error: ParseError) {
        let at = u32::try_from(error.at).unwrap_or(u32::MAX);
        self.note(Remark::Malformed(Malformed {
            at,
            what: format!("expected {}", error.expected),
            count: 1,
        }));
    }
}

/// Malformed elements of a frame that get a note, and maybe the restart of a book; the last note counts the others. Edges allow 64 notes a
/// frame: what is left holds every reason to ignore a part, and a reply.
const MALFORMED_MAX: usize = 24;

/// Longest text in bytes that a note quotes of a frame; edges allow 4096.
const QUOTED_BYTES: usize = 1_000;

fn quoted(mut text: String) -> String {
    if text.len() > QUOTED_BYTES {
        let end = (0..=QUOTED_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Runs `each` over the frames of a batch. Every frame gets at least one event or note; a frame that fails leaves nothing but a malformed
/// note.
pub fn each_frame<'a>(
    frames: &'a Frames,
    mut each: impl FnMut(&mut Output, Frame<'a>) -> ParseResult<()>,
) -> Normalized {
    let count = frames.ends.len();
    let mut output = Output {
        events: Vec::with_capacity(count),
        // A level takes at least 15 bytes of text, most twice that.
        levels: Vec::with_capacity(frames.data.len() / 8),
        notes: Vec::new(),
        frame: 0,
        received_at_ns: 0,
        first_note: 0,
        malformed: 0,
        book: None,
    };
    let mut start = 0;
    for (index, end) in frames.ends.iter().enumerate() {
        let mark = output.mark();
        (output.first_note, output.malformed) = (mark.notes, 0);
        let end = *end as usize;
        let result = match (
            frames.data.get(start..end),
            frames.sources.get(index),
            frames.received_at_ns.get(index),
        ) {
            (Some(bytes), Some(source), Some(received_at_ns)) => {
                output.received_at_ns = *received_at_ns;
                each(&mut output, Frame { bytes, source: *source, received_at_ns: *received_at_ns })
            }
            _ => Err(ParseError { at: 0, expected: "a frame inside the batch, with source and time" }),
        };
        start = end;
        if let Err(error) = result {
            output.take_back(mark);
            output.malformed(error);
        } else if output.events.len() == mark.events && output.notes.len() == mark.notes {
            output.ignored(Ignored::UnknownKind);
        }
        output.frame += 1;
    }
    Normalized { events: output.events, levels: output.levels, notes: output.notes }
}

/// The result of an instance that was not loaded: every frame is malformed.
pub fn not_loaded(frames: &Frames) -> Normalized {
    each_frame(frames, |_, _| Err(ParseError { at: 0, expected: "a call of `load` before the first frame" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Decimal, Side, Trade, TradeId};

    fn trade() -> Payload {
        let number = Decimal { mantissa: 1, scale: 0 };
        Payload::Trade(Trade {
            instrument: 0,
            time_us: 1,
            id: TradeId::Number(1),
            price: number,
            quantity: number,
            side: Side::Buy,
        })
    }

    #[test]
    fn a_venues_text_never_makes_a_note_that_an_edge_refuses() {
        let frames = Frames { data: Vec::new(), ends: vec![0], sources: vec![0], received_at_ns: vec![0] };
        let long = format!("x{}", "\u{e9}".repeat(4_000));
        let normalized = each_frame(&frames, |output, _| {
            output.venue_error(long.as_str(), "short");
            output.note(Remark::Closing(long.clone()));
            Ok(())
        });
        let [Note { remark: Remark::VenueError(error), .. }, Note { remark: Remark::Closing(reason), .. }] =
            &normalized.notes[..]
        else {
            panic!("{:?}", normalized.notes)
        };
        assert_eq!((error.code.len(), error.text.as_str()), (1_002, "short"));
        assert_eq!(error.code, *reason);
        assert!(reason.ends_with("\u{e9}..."));
    }

    #[test]
    fn a_frame_of_many_parts_never_has_more_notes_than_an_edge_takes() {
        let frames =
            Frames { data: Vec::new(), ends: vec![0, 0], sources: vec![0, 0], received_at_ns: vec![0, 0] };
        let normalized = each_frame(&frames, |output, _| {
            for part in 0..1_000 {
                output.ignored(if part % 2 == 0 { Ignored::OtherInstrument } else { Ignored::Empty });
            }
            Ok(())
        });
        assert_eq!(normalized.notes.iter().map(|note| note.frame).collect::<Vec<_>>(), [0, 0, 1, 1]);
    }

    #[test]
    fn an_element_that_cannot_be_read_costs_only_itself() {
        let run = |text: &str| {
            let data = text.as_bytes().to_vec();
            let ends = vec![u32::try_from(data.len()).unwrap()];
            let frames = Frames { data, ends, sources: vec![0], received_at_ns: vec![0] };
            let normalized = each_frame(&frames, |output, frame| {
                let mut cursor = Cursor::new(frame.bytes);
                let each = |output: &mut Output, cursor: &mut Cursor<'_>| {
                    output.changes_book(7);
                    output.event(trade());
                    output.level(1, 2);
                    cursor.unsigned("a number").map(drop)
                };
                output.each_item(&mut cursor, each).map(drop)
            });
            let places = normalized.notes.iter().filter_map(|note| match &note.remark {
                Remark::Malformed(malformed) => Some(malformed.at),
                _ => None,
            });
            let restarts =
                normalized.notes.iter().filter(|note| note.remark == Remark::RestartBook(7)).count();
            (normalized.events.len(), normalized.levels.len(), places.collect::<Vec<_>>(), restarts)
        };
        assert_eq!(run(r#"[1,"none",{"a":[2]},3]"#), (2, 4, vec![3, 10], 2));
        assert_eq!(run(r#"[1,"none"#), (0, 0, vec![8], 0), "not JSON: the whole frame");
        let (events, _, places, restarts) = run(&format!("[{}7]", "null,".repeat(100)));
        assert_eq!((events, places.len(), restarts), (1, MALFORMED_MAX, MALFORMED_MAX));
    }

    #[test]
    fn every_unreadable_element_of_a_frame_is_counted() {
        let text = format!("[{}7]", "null,".repeat(1_000)).into_bytes();
        let ends = vec![u32::try_from(text.len()).unwrap()];
        let frames = Frames { data: text, ends, sources: vec![0], received_at_ns: vec![0] };
        let normalized = each_frame(&frames, |output, frame| {
            output.each_item(&mut Cursor::new(frame.bytes), |output, cursor| {
                output.changes_book(7);
                cursor.unsigned("a number").map(drop)
            })?;
            Ok(())
        });
        let counts = normalized.notes.iter().filter_map(|note| match &note.remark {
            Remark::Malformed(malformed) => Some(malformed.count),
            _ => None,
        });
        let counts: Vec<u32> = counts.collect();
        assert_eq!((counts.len(), counts.iter().sum::<u32>()), (MALFORMED_MAX, 1_000));
        assert!(normalized.notes.len() <= 2 * MALFORMED_MAX, "{}", normalized.notes.len());
    }

    #[test]
    fn every_frame_gets_an_event_or_a_note_and_a_malformed_one_nothing_else() {
        let frames = Frames {
            data: b"abcd".to_vec(),
            ends: vec![1, 2, 3, 9],
            sources: vec![0, 0, 0, 0],
            received_at_ns: vec![0, 0, 0, 0],
        };
        let normalized = each_frame(&frames, |output, frame| {
            output.level(1, 2);
            match frame.bytes {
                b"a" => output.event(trade()),
                b"b" => {
                    output.event(trade());
                    output.ignored(Ignored::Status);
                    return Err(ParseError { at: 7, expected: "more" });
                }
                _ => {}
            }
            Ok(())
        });
        assert_eq!(normalized.events, vec![Event { frame: 0, payload: trade() }]);
        assert_eq!(normalized.levels.len(), 4);
        let notes: Vec<u32> = normalized.notes.iter().map(|note| note.frame).collect();
        assert_eq!(notes, [1, 2, 3]);
        assert!(matches!(&normalized.notes[0].remark, Remark::Malformed(Malformed { at: 7, .. })));
        assert!(matches!(&normalized.notes[1].remark, Remark::Ignored(Ignored::UnknownKind)));
        assert!(matches!(&normalized.notes[2].remark, Remark::Malformed(_)));
    }
}
