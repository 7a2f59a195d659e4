//! Subjects of JetStream behind a leaf node, which names the domain of the centre.

const API: &str = "$JS.API.";
const BUCKETS: &str = "$KV.";

/// The subject by which a request to JetStream, or a write to a bucket, reaches a domain; other subjects are the same in every domain.
pub fn domain_subject(domain: &str, subject: &str) -> String {
    if let Some(request) = subject.strip_prefix(API) {
        format!("$JS.{domain}.API.{request}")
    } else if subject.starts_with(BUCKETS) {
        format!("$JS.{domain}.API.{subject}")
    } else {
        subject.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_writes_to_buckets_name_the_domain_and_events_do_not() {
        for (subject, expected) in [
            ("$JS.API.STREAM.INFO.S", "$JS.hub.API.STREAM.INFO.S"),
            ("$KV.B.k", "$JS.hub.API.$KV.B.k"),
            ("trade.binance_spot.spot.BTC-USDT", "trade.binance_spot.spot.BTC-USDT"),
            ("audit.e", "audit.e"),
        ] {
            assert_eq!(domain_subject("hub", subject), expected);
        }
    }
}
