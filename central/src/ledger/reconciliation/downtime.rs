//! Text that reports a time in which an edge collected nothing. Pure.

use marketprism_schema::DowntimeReason;

use super::queries::{DowntimeSpan, LASTS};
use crate::ledger::windows::WindowRange;
use crate::time::Time;

/// Begin, end and reason of the downtimes in or around a window; none if there is no such time. `pauses` are the gaps around a stop and the
/// next start.
pub fn downtime_as_text<'a>(
    downtimes: impl Iterator<Item = &'a DowntimeSpan> + Clone,
    pauses: impl Iterator<Item = WindowRange> + Clone,
    window: WindowRange,
) -> Option<String> {
    let downtimes = downtimes.filter(|downtime| downtime.touches(window));
    let ranges = || downtimes.clone().map(|downtime| downtime.range).chain(pauses.clone());
    let (from, to) = (ranges().map(|range| range.from).min()?, ranges().map(|range| range.to).max()?);
    let first = downtimes.clone().next();
    let words =
        first.map_or(DowntimeReason::Stopped.text(""), |downtime| downtime.reason.text(&downtime.detail));
    let from = moment(from, window);
    Some(match to {
        LASTS => format!("since {from}, {words}"),
        to => format!("{from} to {}, {words}", moment(to, window)),
    })
}

/// Time of day in UTC, with the date if it is not the window's.
fn moment(at_ns: i64, window: WindowRange) -> String {
    let text = |ns: i64| Time(ns.div_euclid(1_000_000)).to_string();
    let (at, of_window) = (text(at_ns), text(window.from));
    let (date, time) = (at.get(..10).unwrap_or_default(), at.get(11..19).unwrap_or_default());
    if of_window.starts_with(date) { time.to_owned() } else { format!("{date} {time}") }
}
