//! Checks of the buckets at the broker.

use async_nats::jetstream::stream::Config;

use super::check::{Check, CheckStatus};
use crate::broker::{is_missing, within};
use crate::init::SharedBucket;
use crate::report::Sources;
use crate::report::document::FindingCode as Code;

/// Share of a bucket's limit, in percent, from which a check warns.
const NEARLY_FULL: u64 = 90;

/// Every bucket that edges and centrals share must be there.
pub async fn buckets_there(sources: &Sources) -> Vec<Check> {
    let mut checks = Vec::new();
    let buckets = SharedBucket::all(&sources.config);
    for bucket in &buckets {
        let name = bucket.name;
        let found = sources.broker.jetstream.get_stream(&bucket.stream);
        let error = match within(format!("query bucket {name}"), found).await {
            Ok(Ok(stream)) => {
                let info = stream.cached_info();
                checks.extend(differing(bucket, &info.config));
                let fill = || fill(name, info.state.bytes, info.config.max_bytes);
                checks.extend(bucket.has_limit().then(fill).flatten());
                continue;
            }
            Ok(Err(error)) if is_missing(&error) => {
                checks.push(missing(bucket));
                continue;
            }
            Ok(Err(error)) => anyhow::Error::new(error).context(format!("cannot query bucket {name}")),
            Err(error) => error,
        };
        // The others would wait as long.
        let reason = format!("{:#}", sources.broker.explain(error));
        checks.push(Check::unavailable(format!("bucket {name}"), reason, ""));
        return checks;
    }
    if checks.is_empty() {
        checks.push(Check::ok("buckets", format!("all {} are there", buckets.len())));
    }
    checks
}

fn missing(bucket: &SharedBucket) -> Check {
    let SharedBucket { name, without, .. } = bucket;
    let remedy = "run `init`: it creates the bucket";
    let text = format!("is missing: {without}");
    Check::new(Code::BrokerDrift, format!("bucket {name}"), CheckStatus::Fail, text, remedy)
}

fn differing(bucket: &SharedBucket, found: &Config) -> Option<Check> {
    let differences: Vec<String> = bucket.differences(found).iter().map(ToString::to_string).collect();
    let remedy = match bucket.has_limit() {
        true => "run `init --apply`, or change adapters.bucket_max_bytes",
        false => "run `init --apply`",
    };
    let check = || {
        let (name, text) = (format!("bucket {}", bucket.name), differences.join("; "));
        Check::new(Code::BrokerDrift, name, CheckStatus::Warn, text, remedy)
    };
    (!differences.is_empty()).then(check)
}

/// Without a limit the broker takes what its disk has room for.
fn fill(name: &str, used: u64, limit: i64) -> Option<Check> {
    let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
    let is_full = used.saturating_mul(100) >= limit.saturating_mul(NEARLY_FULL);
    let text = || format!("{used} of {limit} bytes are used: `adapters push` will be refused");
    let remedy = "run `adapters delete --unused`, or raise adapters.bucket_max_bytes and run `init --apply`";
    let check =
        || Check::new(Code::BrokerNoRoom, format!("bucket {name}"), CheckStatus::Warn, text(), remedy);
    is_full.then(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_is_nearly_full_is_named_with_the_remedy() {
        assert!(fill("adapters", 89, 100).is_none());
        let check = fill("adapters", 90, 100).unwrap();
        assert_eq!(
            (check.found, check.text.as_str()),
            (CheckStatus::Warn, "90 of 100 bytes are used: `adapters push` will be refused")
        );
        assert!(check.remedy.contains("adapters delete --unused"));
        assert!(fill("adapters", 90, -1).is_none());
    }
}
