//! Comparison of an adapter with an independent calculation (an oracle), also on damaged and rewritten frames.

use serde_json::Value;

use super::{OwnedFrame, Random, Session, damage, rewrite};
use crate::Adapter;

/// A golden line without frame number and scales, which oracles do not calculate.
pub fn comparable(line: &Value) -> Value {
    let mut line = line.clone();
    if let Some(line) = line.as_object_mut() {
        line.remove("frame");
        if let Some(event) = line.get_mut("event").and_then(Value::as_object_mut) {
            event.remove("price_scale");
            event.remove("quantity_scale");
        }
    }
    line
}

/// Shortest plain notation of a number's text, by text operations only. `None` for what is no number, or out of range.
pub fn plain_number(text: &str) -> Option<String> {
    let (text, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !integer.is_empty() && format!("{integer}{fraction}").bytes().all(|byte| byte == b'0') {
        return Some("0".to_owned());
    }
    // The point moves by the exponent; zeros on both sides give it room.
    let room = "0".repeat(usize::try_from(exponent.unsigned_abs().min(100)).ok()?);
    let digits = format!("{room}{integer}{fraction}{room}");
    let point = i64::try_from(room.len() + integer.len()).ok()?.checked_add(exponent)?;
    let (integer, fraction) = digits.split_at_checked(usize::try_from(point).ok()?)?;
    let (integer, fraction) = (integer.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let sign = if integer.is_empty() && fraction.is_empty() { "" } else { sign };
    let integer = if integer.is_empty() { "0" } else { integer };
    Some(if fraction.is_empty() { format!("{sign}{integer}") } else { format!("{sign}{integer}.{fraction}") })
}

/// True for JSON with a number that `serde_json` cannot hold. Such a number may be in a field that an adapter does not read.
pub fn has_huge_number(bytes: &[u8]) -> bool {
    let is_huge = |error: serde_json::Error| error.to_string().contains("number out of range");
    serde_json::from_slice::<Value>(bytes).is_err_and(is_huge)
}

/// Damages frames with a fixed seed, and compares the adapter's events with those that the oracle reads from the same bytes. `lines`
/// gives the adapter's golden lines; the oracle gives `None` for a frame that it cannot read, and leaves out elements that it cannot read. Returns the numbers of malformed frames and
/// of compared frames.
pub fn compare_damaged<A: Adapter>(
    session: &mut Session<A>,
    frames: &[OwnedFrame],
    rounds: usize,
    mut lines: impl FnMut(&mut Session<A>, &OwnedFrame) -> Vec<Value>,
    oracle: impl Fn(&Session<A>, &OwnedFrame) -> Option<Vec<Value>>,
) -> Result<(usize, usize), String> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut malformed, mut compared) = (0, 0);
    for round in 0..rounds {
        let Some(mut frame) = frames.get(random.below(frames.len())).cloned() else { break };
        // Snapshots are long: fewer of them.
        if frame.bytes.len() > 5000 && round % 50 != 0 {
            continue;
        }
        for _ in 0..=random.below(2) {
            damage(&mut frame.bytes, &mut random);
        }
        let lines = lines(session, &frame);
        let text = || String::from_utf8_lossy(&frame.bytes).into_owned();
        if lines.is_empty() {
            return Err(format!("no line for the frame {}", text()));
        }
        let refused = lines.iter().filter(|line| line["kind"] == "malformed").count();
        malformed += refused;
        let events: Vec<Value> =
            lines.iter().filter(|line| line.get("event").is_some()).map(comparable).collect();
        if events.is_empty() {
            continue;
        }
        let Some(expected) = oracle(session, &frame) else { continue };
        compared += 1;
        // An oracle may read elements that the adapter refuses.
        let mut rest = expected.iter();
        let is_right = if refused == 0 {
            expected == events
        } else {
            events.iter().all(|event| rest.any(|one| one == event))
        };
        if !is_right {
            return Err(format!("the frame {} became {events:?}, expected {expected:?}", text()));
        }
    }
    Ok((malformed, compared))
}

/// Rewrites frames with other key orders, blanks and escapes; the adapter must give equal events.
pub fn compare_rewritten<A: Adapter>(
    session: &mut Session<A>,
    frames: &[OwnedFrame],
    mut lines: impl FnMut(&mut Session<A>, &OwnedFrame) -> Vec<Value>,
) -> Result<(), String> {
    let mut random = Random(42);
    for original in frames.iter().filter(|frame| frame.bytes.len() < 5000) {
        let mut other = OwnedFrame { bytes: Vec::new(), ..original.clone() };
        rewrite(&String::from_utf8_lossy(&original.bytes), &mut other.bytes, &mut random)
            .map_err(|error| error.to_string())?;
        let (expected, found) = (lines(session, original), lines(session, &other));
        if expected != found {
            let text = String::from_utf8_lossy(&other.bytes);
            return Err(format!("the frame {text} became {found:?}, expected {expected:?}"));
        }
    }
    Ok(())
}
