//! Texts that we send: JSON-RPC requests, each with an id that its answer repeats.

/// Seconds between the venue's heartbeats, each followed by a request that we must answer.
const HEARTBEAT_SECONDS: u32 = 30;

const HEARTBEAT_ID: u64 = 1;
const TEST_ID: u64 = 2;

/// Asks the venue to watch the connection.
pub(crate) fn set_heartbeat() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{HEARTBEAT_ID},"method":"public/set_heartbeat","params":{{"interval":{HEARTBEAT_SECONDS}}}}}"#
    )
}

/// The answer to a `test_request`; without it the venue closes the connection.
pub(crate) fn test() -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{TEST_ID},"method":"public/test"}}"#)
}

/// The id of a subscription that opens a connection.
pub(crate) fn opening_id(position: u32) -> u64 {
    100 + u64::from(position)
}

/// The ids of asking for one channel again: unsubscribe, subscribe.
pub(crate) fn again_ids(position: u32) -> [u64; 2] {
    [1000 + 2 * u64::from(position), 1001 + 2 * u64::from(position)]
}

/// Asks for channels.
pub(crate) fn subscribe(id: u64, channels: &[String]) -> String {
    on_channels(id, "subscribe", channels)
}

/// Leaves channels.
pub(crate) fn unsubscribe(id: u64, channels: &[String]) -> String {
    on_channels(id, "unsubscribe", channels)
}

/// Names of channels hold letters, digits and a few signs only, so they need no escapes.
fn on_channels(id: u64, method: &str, channels: &[String]) -> String {
    let list = channels.join("\",\"");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"public/{method}","params":{{"channels":["{list}"]}}}}"#)
}
