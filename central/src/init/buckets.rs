//! Settings of the buckets that edges and centrals share: with an age or a limit the broker deletes or refuses entries that must stay.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Config;
use marketprism_schema::{
    ADAPTER_OBJECTS_BUCKET, CONFIRMED_BUCKET, EDGE_LEASES_BUCKET, WANTED_ADAPTERS_BUCKET,
};

use super::{Difference, ObjectResult};
use crate::broker::{is_missing, within};
use crate::lease;

/// Name of each bucket, and its stream.
pub fn streams_of_buckets() -> [(&'static str, String); 5] {
    let kv = |name: &'static str| (name, format!("KV_{name}"));
    [
        kv(CONFIRMED_BUCKET),
        kv(lease::BUCKET),
        kv(EDGE_LEASES_BUCKET),
        kv(WANTED_ADAPTERS_BUCKET),
        (ADAPTER_OBJECTS_BUCKET, format!("OBJ_{ADAPTER_OBJECTS_BUCKET}")),
    ]
}

/// The limit in bytes of the bucket of adapters is that of the configuration, and compared elsewhere.
fn wanted(found: &Config, replicas: usize) -> Config {
    let of_adapters = found.name.starts_with("OBJ_");
    Config {
        max_age: std::time::Duration::ZERO,
        max_bytes: if of_adapters { found.max_bytes } else { -1 },
        max_messages: -1,
        max_message_size: -1,
        num_replicas: replicas,
        ..found.clone()
    }
}

/// Differences of a bucket's stream from what is wanted.
pub fn differences(found: &Config, replicas: usize) -> Vec<Difference> {
    let limit = |value: i64| if value <= 0 { -1 } else { value };
    let settings = |config: &Config| {
        [
            ("max_age_seconds", config.max_age.as_secs().to_string()),
            ("max_bytes", limit(config.max_bytes).to_string()),
            ("max_messages", limit(config.max_messages).to_string()),
            ("max_message_size", limit(config.max_message_size.into()).to_string()),
            ("replicas", config.num_replicas.to_string()),
        ]
    };
    Difference::list(settings(&wanted(found, replicas)), settings(found), true)
}

/// Compares an existing bucket and, with `apply`, changes it. `None`: there is no such bucket.
pub async fn ensure(
    jetstream: &Context,
    stream: &str,
    replicas: usize,
    apply: bool,
) -> anyhow::Result<Option<ObjectResult>> {
    let found = match within(format!("query {stream}"), jetstream.get_stream(stream)).await? {
        Ok(found) => found.cached_info().config.clone(),
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let differences = differences(&found, replicas);
    if differences.is_empty() || !apply {
        return Ok(Some(ObjectResult::of(differences)));
    }
    let changed = jetstream.update_stream(wanted(&found, replicas));
    match within(format!("change {stream}"), changed).await? {
        Ok(_) => Ok(Some(ObjectResult::Updated(differences))),
        Err(error) => {
            let error = anyhow::Error::new(error);
            let refused = differences.into_iter().map(|difference| difference.because(&error)).collect();
            Ok(Some(ObjectResult::Differs(refused)))
        }
    }
}
