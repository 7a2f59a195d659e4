//! Parts of a plan that most venues share.

use crate::types::{
    Budget, Charge, DataType, Instrument, Method, Poll, Request, Resubscription, Resync, ResyncAction,
    TimeUnit, VenueClock,
};

/// A GET request.
pub fn get(url: String, charges: Vec<Charge>, timeout_ms: u32) -> Request {
    Request { method: Method::Get, url, headers: Vec::new(), body: None, charges, timeout_ms }
}

/// Units drawn from the budget of this name.
pub fn charge(budget: impl Into<String>, units: u32) -> Charge {
    Charge { budget: budget.into(), units }
}

/// At most `units` in any `window_ms`.
pub fn budget(name: impl Into<String>, units: u32, window_ms: u32) -> Budget {
    Budget { name: name.into(), units, window_ms }
}

/// A request that is repeated for one instrument.
pub fn poll(data_type: DataType, instrument: u32, request: Request, period_ms: u32) -> Poll {
    Poll { request, data_type, instrument: Some(instrument), period_ms, window: None, reference: false }
}

/// A resync by leaving a book's channel and subscribing again, on its own connection.
pub fn resubscribe(
    instrument: u32,
    connection: u32,
    messages: Vec<String>,
    depth_limit: Option<u32>,
) -> Resync {
    let action = ResyncAction::Resubscribe(Resubscription { connection, messages });
    Resync { instrument, action, depth_limit }
}

/// The venue's clock: a request, and the place and unit of the time in its answer.
pub fn venue_clock(request: Request, pointer: &str, unit: TimeUnit) -> Option<VenueClock> {
    Some(VenueClock { request, pointer: pointer.to_owned(), unit })
}

/// The instruments with their positions.
pub fn numbered(instruments: &[Instrument]) -> Vec<(u32, &Instrument)> {
    (0u32..).zip(instruments).collect()
}

/// A text as part of a URL's query: letters, digits and `-_.~` stay.
pub fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A text as a JSON string. Control characters, which no symbol holds, are left as they are.
pub fn json_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_a_parameter_or_a_string() {
        assert_eq!(percent_encoded("A-b_1.~ &\u{e9}"), "A-b_1.~%20%26%C3%A9");
        assert_eq!(json_string("a\"b\\"), r#""a\"b\\""#);
    }
}
