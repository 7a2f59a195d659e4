//! The form of audits, pinned to the byte, and what is refused.

use marketprism_schema::{
    AUDIT_VERSION, Audit, Capability, ClockReading, ClockStep, Completeness, DataType, EdgeHealth, EdgeHop,
    EventId, FeedAudit, Gap, GapCause, GapKind, HopLatency, LATENCIES_MAX, LATENCY_BUCKETS, MarketType,
    Numbering, SilentStreams, StreamAudit, StreamId, UNSURE_MAX, audit_message_id, audit_subject,
    decode_audit, encode_audit,
};

const MINUTE: i64 = 60_000_000_000;

fn stream(symbol: &str) -> StreamId {
    StreamId::new(DataType::Trade, "sim_spot", MarketType::Spot, symbol).unwrap()
}

const NUMBERED: Capability =
    Capability { numbering: Numbering::ByOne, completeness: Completeness::Complete, delay_seconds: 0 };
const LATE: Capability =
    Capability { completeness: Completeness::LowerBound, delay_seconds: 5_400, ..Capability::UNNUMBERED };

fn audit() -> Audit {
    let mut found = StreamAudit::new(&stream("A-B"), NUMBERED);
    found.stored.add(EventId((5 << 64) | 3));
    found.unsure = vec![EventId(255)];
    (found.duplicates, found.duplicate_ids, found.duplicates_truncated) = (3, vec![1, u64::MAX], true);
    (found.first_sequence, found.last_sequence) = (Some(1), Some(4));
    found.oldest_timestamp = Some(59);
    found.gaps.push(Gap {
        kind: GapKind::TradeIds,
        cause: GapCause::Venue,
        from_sequence: Some(2),
        to_sequence: Some(3),
        missing: Some(2),
        from: MINUTE + 1,
        to: MINUTE + 2,
        venue_from: Some(MINUTE - 3),
        venue_to: None,
        evidence: "seen".into(),
    });
    Audit {
        version: AUDIT_VERSION,
        edge: "e1".into(),
        region: "r".into(),
        run: 7,
        window_start: MINUTE,
        window_seconds: 60,
        from: MINUTE,
        to: 2 * MINUTE,
        part: 1,
        parts: 1,
        streams: vec![found],
        silent: vec![SilentStreams { capability: LATE, streams: vec![stream("C-D")] }],
        feeds: vec![FeedAudit { exchange: "sim_spot".into(), malformed: 1, ..FeedAudit::default() }],
        health: EdgeHealth {
            clocks: vec![ClockReading {
                exchange: "sim_spot".into(),
                offset_ns: -5,
                error_ns: 7,
                measured_at: MINUTE,
            }],
            clock_steps: vec![ClockStep { at: MINUTE + 3, by_ns: -60 }],
            latencies: vec![HopLatency {
                exchange: "sim_spot".into(),
                data_type: DataType::Trade,
                hop: EdgeHop::VenueToEdge,
                counts: vec![0, 2],
            }],
        },
    }
}

#[test]
fn the_form_is_pinned() {
    let bytes = encode_audit(&audit()).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let expected = concat!(
        r#"{"version":1,"edge":"e1","region":"r","run":7,"window_start":60000000000,"window_seconds":60,"#,
        r#""from":60000000000,"to":120000000000,"part":1,"parts":1,"streams":[{"data_type":"trade","#,
        r#""exchange":"sim_spot","market_type":"spot","symbol":"A-B","#,
        r#""capability":{"numbering":"by_one","completeness":"complete"},"#,
        r#""stored":{"count":1,"xor":"0000000000000003","sum":"0000000000000005"},"duplicates":3,"#,
        r#""duplicate_ids":"AQAAAAAAAAD//////////w==","duplicates_truncated":true,"#,
        r#""unsure":["000000000000000000000000000000ff"],"first_sequence":1,"last_sequence":4,"#,
        r#""oldest_timestamp":59,"malformed":0,"conflated":0,"dropped":0,"gaps":[{"kind":"trade_ids","cause":"venue","#,
        r#""from_sequence":2,"to_sequence":3,"missing":2,"from":60000000001,"to":60000000002,"#,
        r#""venue_from":59999999997,"evidence":"seen"}]}],"silent":[{"capability":{"numbering":"unnumbered","completeness":"lower_bound","#,
        r#""delay_seconds":5400},"streams":["trade.sim_spot.spot.C-D"]}],"#,
        r#""feeds":[{"exchange":"sim_spot","malformed":1,"reconnects":0,"adapter_faults":0}],"#,
        r#""health":{"clocks":[{"exchange":"sim_spot","offset_ns":-5,"error_ns":7,"measured_at":60000000000}],"#,
        r#""clock_steps":[{"at":60000000003,"by_ns":-60}],"latencies":[{"exchange":"sim_spot","data_type":"trade","#,
        r#""hop":"venue_to_edge","counts":[0,2]}]}}"#,
    );
    assert_eq!(text, expected);
    assert_eq!(decode_audit(&bytes).unwrap(), audit());
    assert_eq!(audit_subject("e1"), "audit.e1");
    let id = audit_message_id(&audit(), &bytes);
    assert_eq!(id, audit_message_id(&audit(), &bytes));
    assert_ne!(id, audit_message_id(&audit(), b"other"));
}

#[test]
fn contradictions_are_refused() {
    let refused = |change: &dyn Fn(&mut Audit)| {
        let mut changed = audit();
        change(&mut changed);
        decode_audit(&encode_audit(&changed).unwrap()).unwrap_err().to_string()
    };
    let seven = refused(&|audit| audit.window_seconds = 7);
    assert_eq!(seven, "audit: window_seconds is 7, allowed: 1 to 60, a divisor of 60");
    assert!(refused(&|audit| audit.window_start += 1).contains("window_start is 60000000001"));
    assert!(refused(&|audit| audit.to += 1).contains("from..to is 60000000000..120000000001"));
    assert!(refused(&|audit| audit.part = 2).contains("part is 2 of 1"));
    assert!(refused(&|audit| audit.version = 2).contains("version 2"));
    assert!(refused(&|audit| audit.streams[0].id.symbol = "A.B".into()).contains("A.B"));
    let many = refused(&|audit| audit.streams[0].unsure = vec![EventId(1); UNSURE_MAX + 1]);
    assert!(many.contains("unsure is 4097 ids, allowed: at most 4096"), "{many}");
    let unnamed = refused(&|audit| {
        let stream = &mut audit.streams[0];
        (stream.duplicate_ids, stream.duplicates_truncated) = (Vec::new(), false);
    });
    assert!(unnamed.contains("duplicate_ids is 0 ids of 3 duplicates, allowed: 1 to 3"), "{unnamed}");
    assert!(refused(&|audit| audit.streams[0].duplicates = 1).contains("2 ids of 1 duplicates"));
    let odd = "e".repeat(5_000);
    for edge in ["", "E 1", odd.as_str()] {
        let edge = refused(&|audit| audit.edge = edge.to_owned());
        assert!(edge.ends_with("allowed: 1 to 32 of a-z, 0-9 and -") && edge.len() < 200, "{edge}");
    }
    let latency = |audit: &Audit| audit.health.latencies[0].clone();
    let latencies = refused(&|audit| audit.health.latencies = vec![latency(audit); LATENCIES_MAX + 1]);
    assert!(latencies.contains("health.latencies is 513 entries, allowed: at most 512"), "{latencies}");
    let buckets = refused(&|audit| audit.health.latencies[0].counts = vec![1; LATENCY_BUCKETS + 1]);
    assert!(buckets.contains("health.latencies.counts is 25 buckets, allowed: at most 24"), "{buckets}");
    let error = refused(&|audit| audit.health.clocks[0].error_ns = -1);
    assert!(error.contains("health.clocks.error_ns is -1, allowed: 0 or more"), "{error}");
    for bytes in [&b""[..], b"{}", b"[]", b"{\"version\":1}", &vec![b' '; 2 << 20]] {
        assert!(decode_audit(bytes).is_err());
    }
    let newer = decode_audit(br#"{"version":9,"other":1}"#).unwrap_err().to_string();
    assert_eq!(newer, "audit: version 9, 1 is what is read");
}

#[test]
fn large_audits_travel_in_parts() {
    let mut whole = audit();
    whole.streams = (0..3_000).map(|i| StreamAudit::new(&stream(&format!("S{i}-X")), NUMBERED)).collect();
    whole.silent.clear();
    for (capability, letter) in [(NUMBERED, 'Q'), (LATE, 'R')] {
        (0..1_500).for_each(|i| whole.add_silent(capability, stream(&format!("{letter}{i}-X"))));
    }
    let parts = whole.clone().into_parts(40_000).unwrap();
    assert!(parts.len() > 10, "{}", parts.len());
    let mut again = Audit {
        streams: Vec::new(),
        silent: Vec::new(),
        feeds: Vec::new(),
        health: EdgeHealth::default(),
        ..whole.clone()
    };
    for (number, part) in (1..).zip(parts) {
        let bytes = encode_audit(&part).unwrap();
        assert!(bytes.len() <= 40_000, "{}", bytes.len());
        let part = decode_audit(&bytes).unwrap();
        assert_eq!(part.part, number);
        part.silent_streams().for_each(|(id, capability)| again.add_silent(capability, id.clone()));
        again.streams.extend(part.streams);
        again.feeds.extend(part.feeds);
        if number == 1 {
            again.health = part.health;
        } else {
            assert!(part.health.is_empty());
        }
    }
    assert_eq!(again, whole);
    let one = audit().into_parts(40_000).unwrap();
    assert_eq!(one, [audit()]);
}
