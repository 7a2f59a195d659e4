//! REST requests under budgets. A refusal blocks the budgets that the request was charged to, for the time in
//! `Retry-After` (RFC 9110 section 10.2.3) if given.

mod body;
mod client;
mod connector;

pub(crate) use client::StampUrl;
pub use client::{RestClient, http_client};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use marketprism_adapter_host::contract::Charge;
use marketprism_service::mask;
use url::Url;

use crate::budgets::Budgets;
use crate::counters::{Counters, SocketCounter};
use crate::limits::{
    BAN_DEFAULT, BAN_MAX, FORBIDDEN_DEFAULT, FORBIDDEN_MAX, RATE_LIMITED_DEFAULT, RATE_LIMITED_MAX,
    RETRY_AFTER_MAX, RETRY_AFTER_TRUE_MAX, SNIPPET_BYTES, UNAVAILABLE_MAX,
};

/// A request without charges is charged with 0 units to its host, so that blocks of the host apply.
pub(crate) fn charges_or_origin(charges: &[Charge], url: &Url) -> Vec<Charge> {
    if charges.is_empty() {
        return vec![Charge { budget: url.origin().ascii_serialization(), units: 0 }];
    }
    charges.to_vec()
}

pub(crate) fn apply_refusal(
    budgets: &Budgets,
    charges: &[Charge],
    counters: &Counters,
    status: u16,
    retry_after: Option<Duration>,
) {
    let (counted, usual, longest) = match status {
        429 => (SocketCounter::RateLimited, RATE_LIMITED_DEFAULT, RATE_LIMITED_MAX),
        418 => (SocketCounter::Banned, BAN_DEFAULT, BAN_MAX),
        403 | 451 => (SocketCounter::Forbidden, FORBIDDEN_DEFAULT, FORBIDDEN_MAX),
        500..=599 => (SocketCounter::VenueErrors, Duration::ZERO, Duration::ZERO),
        _ => return,
    };
    counters.count(counted);
    let named = match counted {
        // A server error is no rate limit unless it names a time.
        SocketCounter::VenueErrors if retry_after.is_none() => return,
        SocketCounter::VenueErrors => retry_after.map(|time| time.min(UNAVAILABLE_MAX)),
        _ => retry_after,
    };
    // 403 and 451 are about this address or account, which a person changes before a restart; 5xx is one server's.
    let is_kept = matches!(counted, SocketCounter::RateLimited | SocketCounter::Banned);
    for charge in charges {
        let time = budgets.refused(&charge.budget, named, usual, longest);
        if is_kept {
            budgets.keep(&charge.budget, time);
        }
        tracing::warn!(budget = %charge.budget, status, ?time, "venue refused a request: budget blocked");
    }
}

/// The text of a refusal: the beginning of its body, behind the target of a redirection. None is followed: routes, budgets and logins are those of the
/// configured address.
pub(crate) fn refusal_text(status: StatusCode, headers: &HeaderMap, snippet: &[u8]) -> String {
    let body = String::from_utf8_lossy(snippet).into_owned();
    let target = headers.get(LOCATION).filter(|_| status.is_redirection());
    match target.and_then(|target| target.to_str().ok()) {
        Some(target) => {
            let target: String = mask(target).chars().take(SNIPPET_BYTES).collect();
            format!("redirected to {target}: configure that address; {body}")
        }
        None => body,
    }
}

/// `None` without a readable value. A date counts from that of the answer: this machine's clock may be wrong.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text_of = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now = text_of(DATE).and_then(date).unwrap_or(now);
    // A date in the past means now.
    let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    let text = text_of(RETRY_AFTER)?;
    let wait = match text.parse::<u64>() {
        Ok(number) => wait_of(number, until)?,
        Err(_) => until(date(text)?),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Seconds, or the time since 1970 in seconds or milliseconds, which some venues send. `None`: longer than any wait.
fn wait_of(number: u64, until: impl Fn(SystemTime) -> Duration) -> Option<Duration> {
    let wait = match number {
        1_000_000_000..100_000_000_000 => until(UNIX_EPOCH + Duration::from_secs(number)),
        1_000_000_000_000..100_000_000_000_000 => until(UNIX_EPOCH + Duration::from_millis(number)),
        seconds => Duration::from_secs(seconds),
    };
    Some(wait).filter(|wait| *wait <= RETRY_AFTER_TRUE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap();
        retry_after(&headers, now)
    }

    #[test]
    fn seconds_dates_and_nonsense() {
        assert_eq!(parse("30"), Some(Duration::from_secs(30)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-5"), None);
        assert_eq!(parse("1000000"), Some(RETRY_AFTER_MAX));
        assert_eq!(parse("99999999999"), None);
    }

    /// By a clock that was a day behind, a refusal of a minute lasted a day; one that was ahead asked again at once.
    #[test]
    fn times_count_from_the_date_of_the_answer_and_may_be_numbers_since_1970() {
        let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let day = Duration::from_secs(86_400);
        for clock in [now, now - day, now + day] {
            for text in
                ["1790000060", "1790000060000", &httpdate::fmt_http_date(now + Duration::from_secs(60))]
            {
                let mut headers = HeaderMap::new();
                headers.insert(RETRY_AFTER, text.parse().unwrap());
                headers.insert(DATE, httpdate::fmt_http_date(now).parse().unwrap());
                assert_eq!(retry_after(&headers, clock), Some(Duration::from_secs(60)), "{text}");
            }
        }
    }
}
