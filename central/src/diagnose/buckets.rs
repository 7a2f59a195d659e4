//! Checks of the buckets at the broker.

use anyhow::Context as _;
use async_nats::jetstream::stream::Config;
use marketprism_schema::{
    ADAPTER_OBJECTS_BUCKET, CONFIRMED_BUCKET, EDGE_LEASES_BUCKET, WANTED_ADAPTERS_BUCKET,
};

use super::check::{Check, CheckStatus};
use crate::broker::{is_missing, within};
use crate::init::{Difference, bucket_differences};
use crate::lease;
use crate::report::Sources;
use crate::report::document::FindingCode as Code;

/// Stream of a bucket, its name, and what goes wrong without it.
fn buckets() -> [(String, &'static str, &'static str); 5] {
    let kv = |name: &'static str, without| (format!("KV_{name}"), name, without);
    [
        kv(CONFIRMED_BUCKET, "journals of the edges are not freed: central stores no confirmed sequences"),
        kv(lease::BUCKET, "no central can hold a task: nothing is stored"),
        kv(EDGE_LEASES_BUCKET, "edges cannot hold their names, and their heartbeats are lost"),
        kv(WANTED_ADAPTERS_BUCKET, "edges follow no promotion, and wishes of earlier ones are gone"),
        (
            format!("OBJ_{ADAPTER_OBJECTS_BUCKET}"),
            ADAPTER_OBJECTS_BUCKET,
            "edges cannot fetch adapters; push them again",
        ),
    ]
}

/// Share of the bucket of adapters, in percent, from which its room is told.
const NEARLY_FULL: u64 = 90;

/// Every bucket that edges and centrals share must be there.
pub async fn buckets_there(sources: &Sources) -> Vec<Check> {
    let mut checks = Vec::new();
    for (stream, name, without) in buckets() {
        let found = within(format!("query bucket {name}"), sources.broker.jetstream.get_stream(&stream));
        let state = match found.await {
            Ok(Ok(stream)) => {
                let info = stream.cached_info();
                checks.extend(differing(name, &info.config, sources.config.replicas()));
                Ok((info.state.bytes, info.config.max_bytes))
            }
            Ok(Err(error)) if is_missing(&error) => {
                checks.push(missing(name, without));
                continue;
            }
            Ok(Err(error)) => Err(error).with_context(|| format!("cannot query bucket {name}")),
            Err(error) => Err(error),
        };
        match state {
            Ok((used, limit)) if name == ADAPTER_OBJECTS_BUCKET => {
                checks.extend(fill(used, limit));
                checks.extend(other_limit(limit, sources.config.adapters.bucket_max_bytes));
            }
            Ok(_) => {}
            // The others would wait as long.
            Err(error) => {
                let reason = format!("{:#}", sources.broker.explain(error));
                checks.push(Check::unavailable(format!("bucket {name}"), reason, ""));
                return checks;
            }
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("buckets", format!("all {} are there", buckets().len())));
    }
    checks
}

fn missing(name: &str, without: &str) -> Check {
    let remedy = "run `init`: it creates the bucket";
    let text = format!("is missing: {without}");
    Check::new(Code::BrokerDrift, format!("bucket {name}"), CheckStatus::Fail, text, remedy)
}

fn differing(name: &str, found: &Config, replicas: usize) -> Option<Check> {
    let differences: Vec<String> =
        bucket_differences(found, replicas).iter().map(ToString::to_string).collect();
    let check = || {
        let text = differences.join("; ");
        Check::new(Code::BrokerDrift, format!("bucket {name}"), CheckStatus::Warn, text, "run `init --apply`")
    };
    (!differences.is_empty()).then(check)
}

fn other_limit(found: i64, wanted: i64) -> Option<Check> {
    let difference = Difference::between("max_bytes", wanted, found, true)?;
    let name = format!("bucket {ADAPTER_OBJECTS_BUCKET}");
    let remedy = "run `init --apply`, or adapt adapters.bucket_max_bytes";
    Some(Check::new(Code::BrokerDrift, name, CheckStatus::Warn, difference.to_string(), remedy))
}

/// Without a limit the broker takes what its disk has room for.
fn fill(used: u64, limit: i64) -> Option<Check> {
    let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
    let is_full = used.saturating_mul(100) >= limit.saturating_mul(NEARLY_FULL);
    let text = || format!("{used} of {limit} bytes are used: `adapters push` will be refused");
    let remedy = "run `adapters delete --unused`, or raise adapters.bucket_max_bytes and run `init --apply`";
    let name = format!("bucket {ADAPTER_OBJECTS_BUCKET}");
    is_full.then(|| Check::new(Code::BrokerNoRoom, name, CheckStatus::Warn, text(), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_is_nearly_full_is_told_with_the_remedy() {
        assert!(fill(89, 100).is_none());
        let check = fill(90, 100).unwrap();
        assert_eq!(
            (check.found, check.text.as_str()),
            (CheckStatus::Warn, "90 of 100 bytes are used: `adapters push` will be refused")
        );
        assert!(check.remedy.contains("adapters delete --unused"));
        assert!(fill(90, -1).is_none());
    }

    #[test]
    fn a_limit_that_is_not_the_configured_one_is_told() {
        assert!(other_limit(100, 100).is_none());
        let check = other_limit(-1, 100).unwrap();
        assert_eq!(
            (check.found, check.text.as_str()),
            (CheckStatus::Warn, "max_bytes: wanted 100, found -1")
        );
    }
}
