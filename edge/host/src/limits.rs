//! What an adapter may use. One table, so that every bound has its reason and its default in one place.

use std::time::Duration;

/// Bounds of one adapter instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest `normalize` call. A batch takes well under a millisecond; this catches endless loops.
    pub call_deadline: Duration,
    /// Longest other call: reading a venue's instrument list of 20 MB takes a second.
    pub control_deadline: Duration,
    /// All linear memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Core instances, and tables, in a component. An adapter as the build makes it has three.
    pub core_instances: usize,
    /// Linear memories in a component.
    pub memories: usize,
    /// Bytes that one `normalize` call may hand over. It bounds the host's memory, also when a small list in
    /// the sandbox names the same large text again and again.
    pub result_bytes: usize,
    /// Bytes that any other call may hand over.
    pub control_result_bytes: usize,
    /// Events of one batch. A polled answer may list every instrument of a venue.
    pub events_per_batch: usize,
    /// Notes of one frame.
    pub notes_per_frame: usize,
    /// Bytes of a text in an event: ids, periods.
    pub id_bytes: usize,
    /// Bytes of a text in a note: replies, error texts.
    pub text_bytes: usize,
    /// Instruments of a feed.
    pub instruments: usize,
    /// Connections, and streams of one connection, polls, resyncs and requests in a plan.
    pub plan_entries: usize,
    /// Rounds of instrument requests: pages of a venue's lists. An adapter that asks for more never comes to an end.
    pub instrument_rounds: usize,
    /// Bytes of all answers to instrument requests together.
    pub instrument_answer_bytes: usize,
    /// Further pages that one frame may ask for. Each answer names the next page; more would multiply.
    pub follow_ups_per_frame: usize,
    /// Bytes of all reference answers that are kept for new instances. One that does not fit is not kept, and counted.
    pub reference_bytes: usize,
    /// Log lines a second; more are dropped and counted.
    pub log_lines_per_second: u32,
    /// Bytes of a log line; longer ones are cut.
    pub log_line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            call_deadline: Duration::from_millis(100),
            control_deadline: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            core_instances: 8,
            memories: 2,
            result_bytes: 16 << 20,
            control_result_bytes: 64 << 20,
            events_per_batch: 65_536,
            notes_per_frame: 64,
            id_bytes: 128,
            text_bytes: 4_096,
            instruments: 100_000,
            plan_entries: 100_000,
            instrument_rounds: 100,
            instrument_answer_bytes: 256 << 20,
            follow_ups_per_frame: 4,
            reference_bytes: 32 << 20,
            log_lines_per_second: 20,
            log_line_bytes: 1_024,
        }
    }
}
