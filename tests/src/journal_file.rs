//! Events in the segments of an edge's journal, read from the file as it is.

const MAGIC: &[u8] = b"MPJ3";
const EVENT: u8 = 1;

pub struct JournaledFrame<'a> {
    /// Place behind it.
    pub end: usize,
    pub received_at_ns: i64,
    pub event_id: u128,
    /// Packed, otherwise JSON.
    pub is_packed: bool,
    pub payload: &'a [u8],
}

/// Whole events, in order; a torn tail has part of one. Checkpoints and audits are no events.
pub fn events_in(bytes: &[u8]) -> impl Iterator<Item = JournaledFrame<'_>> {
    let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    starts.filter_map(|(at, _)| event_at(bytes, at))
}

fn event_at(bytes: &[u8], at: usize) -> Option<JournaledFrame<'_>> {
    let number = |from: usize| Some(u32::from_le_bytes(bytes.get(from..from + 4)?.try_into().ok()?) as usize);
    let end = at + 8 + number(at + 4)?;
    // Magic, length and checksums come before the body.
    let body = at + 20;
    let subject = body + 62;
    if end > bytes.len() || bytes.get(body) != Some(&EVENT) {
        return None;
    }
    Some(JournaledFrame {
        end,
        received_at_ns: i64::from_le_bytes(bytes.get(body + 9..body + 17)?.try_into().ok()?),
        event_id: u128::from_le_bytes(bytes.get(body + 25..body + 41)?.try_into().ok()?),
        is_packed: bytes.get(body + 42) == Some(&1),
        payload: bytes.get(subject + number(subject - 4)?..end)?,
    })
}
