//! Streams of instruments that the venue does not list any more, and symbols that it does not list.

use marketprism_edge::audit::GapEvent;
use marketprism_schema::{DataType, DataTypeMap, Downtime, DowntimeReason, Gap, GapCause, GapKind, StreamId};

use super::setup::{NUMBERED, SECOND, audited, silent, trades};

#[test]
fn a_delisted_stream_ends_without_a_gap_and_begins_again_with_another_feed() {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let (auditor, feed) = (&audited.auditor, audited.feed);
    let &[stays, ends] = audited.streams.as_slice() else { panic!("{:?}", audited.streams) };
    let lost = |at_ns| Gap::open(GapKind::Connection, GapCause::Network, at_ns, "lost");
    let end = start + SECOND / 2;
    auditor.set_not_listed(feed, &["GONE-B".to_owned()]);
    auditor.end_streams(feed, vec![ends], end, DowntimeReason::Delisted);
    let later = vec![GapEvent::Began(ends, lost(end + 1)), GapEvent::Began(stays, lost(end + 1))];
    auditor.observe(feed, later, Some(start + 9 * SECOND));
    let [ended] = &auditor.take_downtimes()[..] else { panic!("one downtime") };
    assert_eq!((ended.from, ended.to, ended.reason), (end, None, DowntimeReason::Delisted));
    assert_eq!(ended.streams, [trades("C-D")]);
    let audits = auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 2);
    let [of_end, after] = audits.as_slice() else { panic!("{audits:?}") };
    assert_eq!(of_end.silent, silent("C-D"), "audited up to its end, though it is closed later");
    assert_eq!(after.silent, [], "the other stream alone");
    for audit in [of_end, after] {
        let named: Vec<_> = audit.streams.iter().map(|stream| &stream.id).collect();
        assert_eq!(named, [&trades("A-B")]);
        assert_eq!(audit.feeds[0].not_listed, ["GONE-B"]);
    }

    let again = start + 9 * SECOND;
    let added = auditor.added_feed("sim_spot", again);
    let row = DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades("C-D"), NUMBERED)));
    auditor.subscribe(added, &[row], again);
    assert_eq!(auditor.since_ns(added), Some(again), "not the start of the run");
    let [resumed] = &auditor.take_downtimes()[..] else { panic!("one downtime") };
    assert_eq!((resumed.from, resumed.to), (end, Some(again)));
    auditor.observe(feed, Vec::new(), Some(start + 20 * SECOND));
    auditor.observe(added, vec![GapEvent::Began(ends, lost(again))], Some(start + 20 * SECOND));
    let audits = auditor.close(start + 20 * SECOND, auditor.frontier_ns(), 20);
    let last = audits.last().unwrap();
    assert_eq!(last.feeds.len(), 1, "one entry for the feeds of an exchange");
    assert!(last.streams.iter().any(|stream| stream.id == trades("C-D") && stream.gaps.len() == 1));
}

#[test]
fn the_number_of_a_delisted_stream_is_taken_over_once_its_windows_are_closed() {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let auditor = &audited.auditor;
    let add = |symbol: &str, at_ns| {
        let id = trades(symbol);
        let row = DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (id.clone(), NUMBERED)));
        let feed = auditor.added_feed("sim_spot", at_ns);
        let table = auditor.subscribe(feed, &[row], at_ns);
        auditor.observe(feed, Vec::new(), Some(start + 9 * SECOND));
        table[0][DataType::Trade].unwrap()
    };
    auditor.end_streams(audited.feed, vec![audited.streams[1]], start + 1, DowntimeReason::Delisted);
    auditor.observe(audited.feed, Vec::new(), Some(start + 9 * SECOND));
    assert!(!audited.streams.contains(&add("E-F", start + 2)), "its last window is open");
    assert_eq!(auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 2).len(), 2);
    assert_eq!(add("G-H", start + 3 * SECOND), audited.streams[1]);
    let audits = auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 9);
    let named: Vec<_> = audits.last().unwrap().silent.iter().flat_map(|silent| &silent.streams).collect();
    assert_eq!(named, [&trades("A-B"), &trades("G-H"), &trades("E-F")]);

    auditor.take_downtimes();
    assert!(add("C-D", start + 5 * SECOND) != audited.streams[1], "listed again under another number");
    let resumed = auditor.take_downtimes();
    let of = |one: &Downtime| (one.from, one.to, one.reason, one.streams.clone());
    let end = (start + 1, Some(start + 5 * SECOND), DowntimeReason::Delisted, vec![trades("C-D")]);
    assert_eq!(resumed.iter().map(of).collect::<Vec<_>>(), [end]);
}

#[test]
fn a_released_feed_ends_its_streams_and_leaves_its_number() {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let auditor = &audited.auditor;
    let row = || DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades("E-F"), NUMBERED)));
    let first = auditor.added_feed("sim_spot", start);
    auditor.subscribe(first, &[row()], start);
    // Not `feed_ended`: its task may have panicked.
    auditor.release(first, start + 1, DowntimeReason::Removed);
    auditor.observe(audited.feed, Vec::new(), Some(start + SECOND / 2));
    assert_eq!(auditor.frontier_ns(), start + SECOND / 2, "it holds up no window");
    let ended = auditor.take_downtimes();
    assert_eq!((&ended[0].streams, ended[0].reason), (&vec![trades("E-F")], DowntimeReason::Removed));
    let second = auditor.added_feed("sim_spot", start + 2);
    assert_eq!(second, first, "feeds that come and go take no room");
    auditor.subscribe(second, &[row()], start + 2);
    auditor.observe(audited.feed, Vec::new(), Some(start + 2 * SECOND));
    auditor.observe(second, Vec::new(), Some(start + 2 * SECOND));
    let audits = auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 1);
    let [of_pairs, ..] = audits[0].silent.as_slice() else { panic!("{audits:?}") };
    assert_eq!(of_pairs.streams.len(), silent("A-B")[0].streams.len() + 2);
}

/// A reload stops a feed and its parts, and starts it with other symbols.
#[test]
fn a_feed_that_starts_again_with_another_configuration_has_a_gap_of_the_operators_and_ends_what_is_not_selected()
 {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let (auditor, feed) = (&audited.auditor, audited.feed);
    let row =
        |symbol| DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades(symbol), NUMBERED)));
    let part = auditor.added_feed("sim_spot", start);
    let added = auditor.subscribe(part, &[row("E-F")], start)[0][DataType::Trade].unwrap();
    let stop = start + SECOND / 4;
    let gap = Gap::open(GapKind::Stop, GapCause::Operator, stop, "stopped");
    for (of, stream) in [(feed, audited.streams[0]), (feed, audited.streams[1]), (part, added)] {
        auditor.observe(of, vec![GapEvent::Began(stream, gap.clone())], Some(i64::MAX));
    }
    auditor.feed_ended(feed, None);
    auditor.feed_ended(part, None);
    auditor.restarts(feed, &[part], "depth changed");
    auditor.end_unselected(feed, &|stream| stream.symbol != "C-D", stop);
    let again = start + SECOND / 2;
    auditor.subscribe(feed, &[row("A-B"), row("E-F")], again);
    let began = Gap::open(GapKind::Start, GapCause::Network, again, "started");
    auditor.observe(feed, vec![GapEvent::Began(audited.streams[0], began)], Some(again));
    let recovered = GapEvent::Recovered(audited.streams[0], GapKind::Start, again + 5, None);
    auditor.observe(feed, vec![recovered], Some(start + 9 * SECOND));
    let [removed] = &auditor.take_downtimes()[..] else { panic!("one downtime") };
    assert_eq!((&removed.streams, removed.from, removed.to), (&vec![trades("C-D")], stop, None));
    assert_eq!(removed.reason, DowntimeReason::Removed);
    let audits = auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 2);
    for (symbol, gaps) in [("A-B", 2), ("E-F", 1)] {
        let of = audits[0].streams.iter().find(|stream| stream.id == trades(symbol)).unwrap();
        assert_eq!(of.gaps.len(), gaps, "{of:?}");
        assert!(of.gaps.iter().all(|gap| gap.cause == GapCause::Operator), "{of:?}");
        assert!(
            of.gaps.iter().any(|gap| (gap.from, gap.to) == (stop, again) && gap.evidence == "depth changed")
        );
    }
    let named: Vec<_> = audits[1].silent.iter().flat_map(|silent| &silent.streams).collect();
    assert_eq!(named, [&trades("A-B"), &trades("E-F")], "expected from then on");
}

#[test]
fn a_stream_whose_instrument_has_other_terms_goes_on_in_another_feed_with_a_gap_of_the_venues() {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let (auditor, feed) = (&audited.auditor, audited.feed);
    let moved = audited.streams[1];
    let (at, frame) = (start + SECOND / 4, start + SECOND / 2);
    let part = auditor.added_feed("sim_spot", at);
    auditor.move_streams((feed, part), &|stream| stream.symbol == "C-D", at, "tick changed");
    let row = DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades("C-D"), NUMBERED)));
    assert_eq!(auditor.subscribe(part, &[row], at + 5)[0][DataType::Trade], Some(moved));
    // The old feed still watches the connection; the new one reports its own start.
    let lost = Gap::open(GapKind::Connection, GapCause::Network, at + 9, "lost");
    auditor.observe(feed, vec![GapEvent::Began(moved, lost)], Some(start + 9 * SECOND));
    let began = Gap::open(GapKind::Start, GapCause::Network, at + 5, "no frame");
    let recovered = GapEvent::Recovered(moved, GapKind::Start, frame, None);
    auditor.observe(part, vec![GapEvent::Began(moved, began), recovered], Some(start + 9 * SECOND));
    let audits = auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 2);
    let gaps = |number: usize| {
        let streams = audits[number].streams.iter().filter(|stream| stream.id == trades("C-D"));
        streams.flat_map(|stream| &stream.gaps).cloned().collect::<Vec<_>>()
    };
    let [gap] = &gaps(0)[..] else { panic!("{audits:?}") };
    assert_eq!((gap.kind, gap.cause, gap.from, gap.to), (GapKind::Start, GapCause::Venue, at, frame));
    assert_eq!(gap.evidence, "tick changed");
    assert!(gaps(1).is_empty() && auditor.take_downtimes().is_empty());
}

/// The new size is known with the next list only; until then quantities are multiplied by the earlier one.
#[test]
fn a_stream_whose_contract_size_changed_has_a_gap_since_the_list_before() {
    let start = 1_000 * SECOND;
    let audited = audited(start);
    let (auditor, feed) = (&audited.auditor, audited.feed);
    let (before, at) = (start + SECOND / 4, start + 3 * SECOND + SECOND / 2);
    auditor.observe(feed, Vec::new(), Some(start + 2 * SECOND));
    assert_eq!(auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 9).len(), 2);
    let part = auditor.added_feed("sim_spot", at);
    let is_resized = |stream: &StreamId| stream.symbol == "C-D";
    auditor.doubt_streams(feed, &|stream| is_resized(stream).then_some(before), at, "another size");
    auditor.move_streams((feed, part), &is_resized, at, "terms changed");
    auditor.observe(feed, Vec::new(), Some(start + 9 * SECOND));
    auditor.observe(part, Vec::new(), Some(start + 9 * SECOND));
    let audits = auditor.close(start + 9 * SECOND, auditor.frontier_ns(), 2);
    let streams = audits.iter().flat_map(|audit| &audit.streams);
    let gaps: Vec<_> = streams
        .flat_map(|stream| stream.gaps.iter().map(move |gap| (&stream.id, gap)))
        .filter(|(_, gap)| gap.kind != GapKind::Start)
        .collect();
    let [(id, gap)] = &gaps[..] else { panic!("{audits:?}") };
    assert_eq!((*id, gap.from, gap.to), (&trades("C-D"), before, at));
    assert_eq!((gap.cause, gap.evidence.as_str()), (GapCause::Venue, "another size"));
}
