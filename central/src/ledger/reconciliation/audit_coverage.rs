//! Part of a window that audits cover.

use super::queries::WindowAudit;
use crate::ledger::windows::{SECOND_NS, WindowRange};

/// Audits that adjoin within this tolerance leave no hole: clock readings of one edge may differ by as much.
const TOLERANCE_NS: i64 = 10_000_000;

/// Ok when the audits cover the whole window; otherwise the covered parts as text.
pub fn covers(audits: &[WindowAudit], window: WindowRange) -> Result<(), String> {
    let mut parts: Vec<WindowRange> =
        audits.iter().map(|audit| WindowRange { from: audit.from, to: audit.to }).collect();
    parts.sort_unstable();
    let mut joined: Vec<WindowRange> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.from <= last.to.saturating_add(TOLERANCE_NS) => last.to = last.to.max(part.to),
            _ => joined.push(part),
        }
    }
    if let [one] = joined.as_slice()
        && one.from <= window.from + TOLERANCE_NS
        && one.to >= window.to - TOLERANCE_NS
    {
        return Ok(());
    }
    let second = |at: i64| {
        let milli = (at - window.from).clamp(0, window.to - window.from) / (SECOND_NS / 1_000);
        format!("{}.{:03}", milli / 1_000, milli % 1_000)
    };
    let parts: Vec<String> =
        joined.iter().map(|part| format!("{}-{}", second(part.from), second(part.to))).collect();
    let length = (window.to - window.from) / SECOND_NS;
    Err(format!("{} s of the {length} s window", parts.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(parts: &[(i64, i64)]) -> Result<(), String> {
        let milli = |at: i64| at * 1_000_000;
        let audit = |&(from, to): &(i64, i64)| WindowAudit {
            from: milli(from),
            to: milli(to),
            ..WindowAudit::default()
        };
        let audits: Vec<WindowAudit> = parts.iter().map(audit).collect();
        covers(&audits, WindowRange { from: milli(60_000), to: milli(120_000) })
    }

    #[test]
    fn runs_add_up_in_any_order_and_holes_are_named() {
        assert_eq!(covered(&[(60_000, 120_000)]), Ok(()));
        assert_eq!(covered(&[(90_000, 120_000), (60_005, 90_000)]), Ok(()));
        assert_eq!(covered(&[(60_000, 90_000), (90_005, 119_995)]), Ok(()), "within the clock tolerance");
        assert_eq!(covered(&[(60_000, 120_000), (70_000, 80_000)]), Ok(()), "one run within another");
        assert_eq!(
            covered(&[(60_000, 90_000), (90_020, 120_000)]).unwrap_err(),
            "0.000-30.000 and 30.020-60.000 s of the 60 s window"
        );
        assert_eq!(covered(&[(70_500, 120_000)]).unwrap_err(), "10.500-60.000 s of the 60 s window");
    }
}
