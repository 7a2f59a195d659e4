//! Latency of a report: quantiles by hop, their trust, and findings about clocks.

use std::collections::BTreeMap;

use marketprism_schema::{CLOCK_OFFSET_MAX, EdgeHop, SELFTEST_EXCHANGE, latency_quantile_us};

use super::document::{
    EdgeClock, EdgeClockStep, Finding, FindingCode as Code, HopQuantiles, LatencyReport, Level, StreamLatency,
};
use super::sources::latency::{HopCounts, LatencyRows, RowLatency};
use crate::report::Time;
use crate::time::micros;

/// Hop from an edge to hot, after those of [`EdgeHop`].
pub const EDGE_TO_HOT: &str = "edge_to_hot";

/// Trust in `venue_to_edge` of the synthetic stream.
const ONE_CLOCK: &str = "both times by the edge's clock";

pub fn compose(rows: LatencyRows) -> LatencyReport {
    let clocks: Vec<EdgeClock> = rows
        .clocks
        .into_iter()
        .map(|clock| EdgeClock {
            edge: clock.edge,
            exchange: clock.exchange,
            offset_us: clock.offset_ns / 1_000,
            error_us: clock.error_ns / 1_000,
            measured_at: Time(clock.measured_ns / 1_000_000),
            worst_offset_us: clock.worst_offset_ns / 1_000,
            worst_error_us: clock.worst_error_ns / 1_000,
        })
        .collect();
    let mut streams: BTreeMap<(String, String, String), Vec<HopQuantiles>> = BTreeMap::new();
    for HopCounts { edge, exchange, data_type, hop, counts } in rows.hops {
        // Stored by a newer central.
        let Ok(hop) = hop.parse::<EdgeHop>() else { continue };
        let quantile = |thousandths| latency_quantile_us(&counts, thousandths).unwrap_or_default();
        let quantiles = HopQuantiles {
            hop: hop.as_str(),
            events: counts.iter().sum(),
            p50_us: quantile(500),
            p90_us: quantile(900),
            p99_us: quantile(990),
        };
        streams.entry((edge, exchange, data_type)).or_default().push(quantiles);
    }
    for RowLatency { edge, exchange, data_type, events, quantiles } in rows.rows {
        let [p50_us, p90_us, p99_us] = quantiles[..] else { continue };
        let quantiles = HopQuantiles { hop: EDGE_TO_HOT, events, p50_us, p90_us, p99_us };
        streams.entry((edge, exchange, data_type)).or_default().push(quantiles);
    }
    let stream = |((edge, exchange, data_type), mut hops): (_, Vec<HopQuantiles>)| {
        let of_hop = |quantiles: &HopQuantiles| {
            EdgeHop::ALL.iter().position(|hop| hop.as_str() == quantiles.hop).unwrap_or(usize::MAX)
        };
        hops.sort_by_key(of_hop);
        let clock = clocks.iter().find(|clock| clock.edge == edge && clock.exchange == exchange);
        let is_selftest = exchange == SELFTEST_EXCHANGE;
        let mut trust = if is_selftest { ONE_CLOCK.to_owned() } else { trust(clock) };
        if hops.iter().any(|quantiles| quantiles.hop == EDGE_TO_HOT) {
            let of_edge = clocks.iter().filter(|clock| clock.edge == edge);
            trust.push_str(&trust_to_hot(of_edge.min_by_key(|clock| clock.error_us)));
        }
        StreamLatency { trust, edge, exchange, data_type, hops }
    };
    let streams = streams.into_iter().map(stream).collect();
    let steps = rows.steps.into_iter().map(|step| EdgeClockStep {
        edge: step.edge,
        at: Time(step.at_ns / 1_000_000),
        by_us: step.by_ns / 1_000,
    });
    LatencyReport { streams, clocks, clock_steps: steps.collect() }
}

fn trust(clock: Option<&EdgeClock>) -> String {
    match clock {
        Some(clock) => format!(
            "offset between the two clocks {} \u{b1} {}",
            signed(clock.offset_us),
            micros(clock.error_us.unsigned_abs())
        ),
        None => "offset between the two clocks not measured".to_owned(),
    }
}

/// The server's clock is not measured.
fn trust_to_hot(best: Option<&EdgeClock>) -> String {
    match best {
        Some(clock) => format!(
            "; edge_to_hot: edge's clock {} \u{b1} {} against {}, and that of the server",
            signed(clock.offset_us),
            micros(clock.error_us.unsigned_abs()),
            clock.exchange
        ),
        None => "; edge_to_hot: neither the edge's clock nor the server's was measured".to_owned(),
    }
}

fn signed(us: i64) -> String {
    format!("{}{}", if us < 0 { "-" } else { "+" }, micros(us.unsigned_abs()))
}

/// Clocks that are wrong beyond the error of their measurement, and clocks that were set.
pub fn findings(latency: &LatencyReport) -> Vec<Finding> {
    let limit_us = i64::try_from(CLOCK_OFFSET_MAX.as_micros()).unwrap_or(i64::MAX);
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for clock in &latency.clocks {
        if clock.worst_offset_us.saturating_abs() - clock.worst_error_us > limit_us {
            let (offset, error) =
                (signed(clock.worst_offset_us), micros(clock.worst_error_us.unsigned_abs()));
            let text = format!("{offset} \u{b1} {error} against {}", clock.exchange);
            wrong.entry(&clock.edge).or_default().push(text);
        }
    }
    let mut stepped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for step in &latency.clock_steps {
        stepped.entry(&step.edge).or_default().push(format!("{} at {}", signed(step.by_us), step.at));
    }
    let offset = wrong.into_iter().map(|(edge, found)| {
        let limit = micros(CLOCK_OFFSET_MAX.as_micros().try_into().unwrap_or(u64::MAX));
        let text = format!("its clock was wrong: {} (allowed: {limit} beyond the error)", found.join(", "));
        let remedy = "synchronize the clock of its machine (NTP); times of events are not corrected";
        Finding::new(Code::EdgeClockOffset, Level::Warn, format!("edge {edge}"), text, remedy)
    });
    let steps = stepped.into_iter().map(|(edge, found)| {
        let text = format!("its clock was set {} times: {}", found.len(), found.join(", "));
        let remedy = "let NTP slew the clock; receive times and latencies jump at these times";
        Finding::new(Code::EdgeClockStepped, Level::Warn, format!("edge {edge}"), text, remedy)
    });
    offset.chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sources::latency::{ClockRow, StepRow};

    fn clock(exchange: &str, offset_ns: i64, error_ns: i64) -> ClockRow {
        ClockRow {
            edge: "e1".to_owned(),
            exchange: exchange.to_owned(),
            offset_ns,
            error_ns,
            measured_ns: 7_000_000,
            worst_offset_ns: offset_ns,
            worst_error_ns: error_ns,
        }
    }

    fn hop(hop: &str, counts: &[u64]) -> HopCounts {
        let [edge, exchange, data_type] = ["e1", "sim_spot", "trade"].map(str::to_owned);
        HopCounts { edge, exchange, data_type, hop: hop.to_owned(), counts: counts.to_vec() }
    }

    #[test]
    fn hops_are_in_the_order_of_the_way_and_venue_to_edge_says_how_far_it_can_be_trusted() {
        let row = RowLatency {
            edge: "e1".to_owned(),
            exchange: "sim_spot".to_owned(),
            data_type: "trade".to_owned(),
            events: 3,
            quantiles: vec![1_000_000, 1_500_000, 2_000_000],
        };
        let latency = compose(LatencyRows {
            hops: vec![hop("publish_to_ack", &[0, 2]), hop("venue_to_edge", &[0, 0, 4]), hop("newer", &[1])],
            rows: vec![row],
            clocks: vec![clock("sim_spot", -1_200_000, 4_500_000)],
            steps: Vec::new(),
        });
        let [stream] = latency.streams.as_slice() else { panic!("{latency:?}") };
        let hops: Vec<_> = stream.hops.iter().map(|hop| (hop.hop, hop.events, hop.p50_us)).collect();
        assert_eq!(
            hops,
            [("venue_to_edge", 4, 37), ("publish_to_ack", 2, 17), ("edge_to_hot", 3, 1_000_000)]
        );
        let to_hot =
            "; edge_to_hot: edge's clock -1.2 ms \u{b1} 4.5 ms against sim_spot, and that of the server";
        assert_eq!(stream.trust, format!("offset between the two clocks -1.2 ms \u{b1} 4.5 ms{to_hot}"));
    }

    /// The offset of its edge is in the time from the edge to hot all the same.
    #[test]
    fn the_synthetic_stream_trusts_one_clock_up_to_the_edge_and_the_best_measured_one_to_hot() {
        let row = RowLatency {
            edge: "e1".to_owned(),
            exchange: SELFTEST_EXCHANGE.to_owned(),
            data_type: "trade".to_owned(),
            events: 3,
            quantiles: vec![1, 2, 3],
        };
        let second = 1_000_000_000;
        let trust = |clocks: Vec<ClockRow>| {
            let latency = compose(LatencyRows { rows: vec![row.clone()], clocks, ..LatencyRows::default() });
            latency.streams[0].trust.clone()
        };
        let other = ClockRow { edge: "e2".to_owned(), ..clock("a", 0, 0) };
        let best = trust(vec![other, clock("a", second, second), clock("b", 5 * second, 1_000_000)]);
        let to_hot = "edge_to_hot: edge's clock +5 s \u{b1} 1 ms against b, and that of the server";
        assert_eq!(best, format!("{ONE_CLOCK}; {to_hot}"));
        let none = "edge_to_hot: neither the edge's clock nor the server's was measured";
        assert_eq!(trust(Vec::new()), format!("{ONE_CLOCK}; {none}"));
    }

    #[test]
    fn an_offset_is_found_only_beyond_the_error_of_its_measurement() {
        let found = |clocks: Vec<ClockRow>, steps: Vec<StepRow>| {
            let latency = compose(LatencyRows { clocks, steps, ..LatencyRows::default() });
            findings(&latency).into_iter().map(|found| (found.code, found.text)).collect::<Vec<_>>()
        };
        let second = 1_000_000_000;
        // The time of this venue has a resolution of a second.
        assert_eq!(found(vec![clock("a", second, second), clock("b", 499_000_000, 0)], Vec::new()), []);
        let wrong = found(vec![clock("a", second, second), clock("b", -2 * second, 3_000_000)], Vec::new());
        let text = "its clock was wrong: -2 s \u{b1} 3 ms against b (allowed: 500 ms beyond the error)";
        assert_eq!(wrong, [(Code::EdgeClockOffset, text.to_owned())]);
        let step = StepRow { edge: "e1".to_owned(), at_ns: 0, by_ns: 90 * second };
        let stepped = found(Vec::new(), vec![step]);
        let text = "its clock was set 1 times: +90 s at 1970-01-01T00:00:00.000Z";
        assert_eq!(stepped, [(Code::EdgeClockStepped, text.to_owned())]);
    }
}
