//! Which part of a window an edge vouches for.

use super::facts::Claim;
use crate::ledger::windows::{SECOND_NS, Span};

/// Two runs that meet within so long, or a run and the window's edge, leave no hole: what an edge's own clock reads can differ by.
const TOLERANCE_NS: i64 = 10_000_000;

/// Whether the claims cover the window; what they cover in words where they do not.
pub fn cover(claims: &[Claim], window: Span) -> Result<(), String> {
    let mut parts: Vec<Span> = claims.iter().map(|claim| Span { from: claim.from, to: claim.to }).collect();
    parts.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
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
    let words: Vec<String> =
        joined.iter().map(|part| format!("{} to {}", second(part.from), second(part.to))).collect();
    Err(format!("second {} of {}", words.join(" and "), (window.to - window.from) / SECOND_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(parts: &[(i64, i64)]) -> Result<(), String> {
        let milli = |at: i64| at * 1_000_000;
        let claim = |&(from, to): &(i64, i64)| Claim { from: milli(from), to: milli(to), ..Claim::default() };
        let claims: Vec<Claim> = parts.iter().map(claim).collect();
        cover(&claims, Span { from: milli(60_000), to: milli(120_000) })
    }

    /// Goal: runs add up whatever their order and however short their windows; a hole is named.
    #[test]
    fn runs_add_up_and_holes_are_named() {
        assert_eq!(covered(&[(60_000, 120_000)]), Ok(()));
        assert_eq!(covered(&[(90_000, 120_000), (60_005, 90_000)]), Ok(()));
        assert_eq!(covered(&[(60_000, 90_000), (90_005, 119_995)]), Ok(()), "clocks may differ by so much");
        assert_eq!(covered(&[(60_000, 120_000), (70_000, 80_000)]), Ok(()), "one run within another");
        assert_eq!(
            covered(&[(60_000, 90_000), (90_020, 120_000)]).unwrap_err(),
            "second 0.000 to 30.000 and 30.020 to 60.000 of 60"
        );
        assert_eq!(covered(&[(70_500, 120_000)]).unwrap_err(), "second 10.500 to 60.000 of 60");
    }
}
