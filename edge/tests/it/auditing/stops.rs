//! Stops and starts: last words, the journal on disk, and the downtime that both enclose.

use std::collections::BTreeSet;

use marketprism_edge::audit::{Auditor, Resumption, RunJournal};
use marketprism_edge::publisher::DrainResult;
use marketprism_schema::{DataType, DataTypeMap, DowntimeReason, MarketType};
use marketprism_tests::wait::eventually;

use super::setup::{
    NUMBERED, SECOND, SYMBOLS, audit_payloads, audited, audited_after, broker_with_streams, origin,
    run_journaled, trades,
};

const DELIVERED: (DrainResult, u64) = (DrainResult { undelivered: 0 }, 0);

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_the_next_start_enclose_the_downtime_and_audits_cover_the_rest() {
    let (folder, broker) = broker_with_streams().await;
    let journal = RunJournal::open(folder.path(), "e1").unwrap();
    let first = run_journaled(&broker.url(), &journal).await;
    first.append(0..100);
    assert_eq!(first.end().await, DELIVERED);
    let (audits, open) = audit_payloads(&broker.url()).await;
    let last = audits.last().unwrap().to;
    let [stop] = open.as_slice() else { panic!("{open:?}") };
    assert_eq!(
        (stop.from, stop.to, stop.reason, stop.streams.len()),
        (last, None, DowntimeReason::Stopped, 2)
    );

    let second = run_journaled(&broker.url(), &journal).await;
    second.append(100..200);
    assert_eq!(second.end().await, DELIVERED);
    let (audits, downtimes) = audit_payloads(&broker.url()).await;
    let run = audits.last().unwrap().run;
    let of_run = audits.iter().find(|audit| audit.run == run).unwrap();
    assert_eq!((downtimes[1].from, downtimes[1].to), (last, Some(of_run.from)), "no time in between");
    assert_eq!(journal.read().unwrap().unwrap().unsent, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_that_the_broker_did_not_get_are_sent_by_the_next_start() {
    let (folder, mut broker) = broker_with_streams().await;
    let journal = RunJournal::open(folder.path(), "e1").unwrap();
    let first = run_journaled(&broker.url(), &journal).await;
    first.append(0..100);
    eventually("all events are confirmed", || async { first.pending() == 0 }).await;
    broker.kill();
    assert_eq!(first.end().await, DELIVERED, "nothing is lost: the journal has it");
    let kept = journal.read().unwrap().unwrap();
    assert!(kept.stop.is_some() && kept.unsent.len() >= 2, "{kept:?}");

    broker.restart().await;
    let second = run_journaled(&broker.url(), &journal).await;
    eventually("the journal is empty", || async { journal.read().unwrap().unwrap().unsent.is_empty() }).await;
    let (_, downtimes) = audit_payloads(&broker.url()).await;
    assert_eq!(downtimes.iter().map(|downtime| downtime.to.is_some()).collect::<Vec<_>>(), [false, true]);
    assert!(journal.read().unwrap().unwrap().stop.is_none(), "killed from now on, this run leaves no stop");
    assert_eq!(second.end().await, DELIVERED);
    let (audits, _) = audit_payloads(&broker.url()).await;
    let runs: BTreeSet<i64> = audits.iter().map(|audit| audit.run).collect();
    assert_eq!(runs.len(), 2, "the audits of the first run arrived");
}

#[test]
fn streams_that_are_no_longer_configured_or_listed_are_reported_once_as_removed_or_delisted() {
    let streams = BTreeSet::from([trades("A-B"), trades("GONE-B"), trades("X-Y")]);
    let resumption = Resumption { after_clean_stop: true, streams, ..Resumption::default() };
    let start = 1_000 * SECOND + SECOND / 2;
    let audited = audited_after(&resumption, start, &SYMBOLS.map(str::to_owned));
    let removed = audited.auditor.take_downtimes();
    let [delisted, removed] = removed.as_slice() else { panic!("{removed:?}") };
    assert_eq!((delisted.from, delisted.to, delisted.reason), (start, None, DowntimeReason::Delisted));
    assert_eq!(delisted.streams, [trades("GONE-B")]);
    assert_eq!((removed.from, removed.to, removed.reason), (start, None, DowntimeReason::Removed));
    assert_eq!(removed.streams, [trades("X-Y")]);
    assert_eq!(audited.auditor.take_downtimes(), []);
    let words = audited.auditor.last_words(start + 5 * SECOND);
    assert_eq!(words.len(), 1);
    assert_eq!((words[0].from, words[0].streams.len()), (start + 5 * SECOND, 2));

    for (symbol, reason) in [("GONE-B", DowntimeReason::Delisted), ("X-Y", DowntimeReason::Removed)] {
        let at = start + 6 * SECOND;
        let row = DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades(symbol), NUMBERED)));
        audited.auditor.subscribe(audited.auditor.added_feed("sim_spot", at), &[row], at);
        let [ended] = &audited.auditor.take_downtimes()[..] else { panic!("{symbol}: one downtime") };
        assert_eq!((ended.from, ended.to, ended.reason), (start, Some(at), reason), "{symbol} is back");
    }
}

#[test]
fn a_stream_that_was_deselected_or_outranked_before_its_feed_started_is_not_delisted() {
    let streams = BTreeSet::from([trades("GONE-A"), trades("GONE-B"), trades("GONE-C")]);
    let start = 1_000 * SECOND;
    let auditor = Auditor::new(origin(start));
    auditor.resume(&Resumption { streams, ..Resumption::default() }, |_| true);
    let feed = auditor.feed("sim_spot");
    auditor.select(|stream| stream.symbol != "GONE-A");
    auditor.set_outranked(feed, Some(&BTreeSet::from([("GONE-C".to_owned(), MarketType::Spot)])));
    auditor.subscribe(feed, &[], start);
    let downtimes = auditor.take_downtimes();
    let of: Vec<_> = downtimes.iter().map(|one| (one.reason, one.streams.as_slice())).collect();
    let expected = [
        (DowntimeReason::Delisted, &[trades("GONE-B")][..]),
        (DowntimeReason::Outranked, &[trades("GONE-C")][..]),
        (DowntimeReason::Removed, &[trades("GONE-A")][..]),
    ];
    assert_eq!(of, expected);
}

#[test]
fn a_stream_of_the_run_before_is_not_delisted_while_the_ranking_cannot_be_read() {
    let streams = BTreeSet::from([trades("OUT-B"), trades("BACK-B")]);
    let start = 1_000 * SECOND;
    let auditor = Auditor::new(origin(start));
    auditor.resume(&Resumption { streams, ..Resumption::default() }, |_| true);
    let feed = auditor.feed("sim_spot");
    auditor.set_outranked(feed, None);
    auditor.subscribe(feed, &[], start);
    assert_eq!(auditor.take_downtimes(), []);
    auditor.set_outranked(feed, Some(&BTreeSet::from([("OUT-B".to_owned(), MarketType::Spot)])));
    let [out] = &auditor.take_downtimes()[..] else { panic!("one downtime") };
    assert_eq!((out.reason, &out.streams), (DowntimeReason::Outranked, &vec![trades("OUT-B")]));
    let row = DataTypeMap::from_fn(|kind| (kind == DataType::Trade).then(|| (trades("BACK-B"), NUMBERED)));
    auditor.subscribe(auditor.added_feed("sim_spot", start + 5), &[row], start + 5);
    assert_eq!(auditor.take_downtimes(), [], "it goes on");
}

#[test]
fn a_stream_that_was_delisted_in_an_earlier_run_ends_its_downtime_when_it_is_back() {
    let start = 1_000 * SECOND;
    let first = audited(start);
    first.auditor.end_streams(first.feed, vec![first.streams[1]], start + 5, DowntimeReason::Delisted);
    let lasting = first.auditor.lasting_downtimes();
    let resumption = Resumption { lasting, ..Resumption::default() };
    let second = audited_after(&resumption, start + SECOND, &SYMBOLS.map(str::to_owned));
    let [ended] = &second.auditor.take_downtimes()[..] else { panic!("one downtime") };
    assert_eq!((ended.from, ended.to), (start + 5, Some(start + SECOND)));
    assert_eq!((ended.reason, &ended.streams), (DowntimeReason::Delisted, &vec![trades("C-D")]));
    assert_eq!(second.auditor.lasting_downtimes(), []);
}
