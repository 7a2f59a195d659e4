//! The buckets that edges and centrals share, and their settings: with an age or a limit the broker deletes or refuses entries that must stay.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Config as StreamConfig;
use marketprism_schema::{
    ADAPTER_OBJECTS_BUCKET, CONFIRMED_BUCKET, EDGE_LEASES_BUCKET, WANTED_ADAPTERS_BUCKET,
};

use super::{Difference, ObjectResult};
use crate::broker::{is_missing, within};
use crate::config::Config;
use crate::lease;

#[derive(Debug, Clone)]
pub struct SharedBucket {
    pub name: &'static str,
    /// Holds the entries.
    pub stream: String,
    /// Consequence of a missing bucket.
    pub without: &'static str,
    /// -1: no limit.
    max_bytes: i64,
    replicas: usize,
}

impl SharedBucket {
    pub fn all(config: &Config) -> [Self; 5] {
        let replicas = config.replicas();
        let kv = |name: &'static str, without| {
            let stream = format!("KV_{name}");
            Self { name, stream, without, max_bytes: -1, replicas }
        };
        [
            kv(
                CONFIRMED_BUCKET,
                "journals of the edges are not freed: central stores no confirmed sequences",
            ),
            kv(lease::BUCKET, "no central can hold a task: nothing is stored"),
            kv(EDGE_LEASES_BUCKET, "edges cannot hold their names, and their heartbeats are lost"),
            kv(WANTED_ADAPTERS_BUCKET, "edges follow no promotion, and earlier promotions are lost"),
            Self {
                name: ADAPTER_OBJECTS_BUCKET,
                stream: format!("OBJ_{ADAPTER_OBJECTS_BUCKET}"),
                without: "edges cannot fetch adapters; push them again",
                max_bytes: config.adapters.bucket_max_bytes,
                replicas,
            },
        ]
    }

    pub const fn has_limit(&self) -> bool {
        self.max_bytes > 0
    }

    fn wanted(&self, found: &StreamConfig) -> StreamConfig {
        StreamConfig {
            max_age: Duration::ZERO,
            max_bytes: self.max_bytes,
            max_messages: -1,
            max_message_size: -1,
            num_replicas: self.replicas,
            ..found.clone()
        }
    }

    /// Differences of its stream from what is wanted.
    pub fn differences(&self, found: &StreamConfig) -> Vec<Difference> {
        let limit = |value: i64| if value <= 0 { -1 } else { value };
        let settings = |config: &StreamConfig| {
            [
                ("max_age_seconds", config.max_age.as_secs().to_string()),
                ("max_bytes", limit(config.max_bytes).to_string()),
                ("max_messages", limit(config.max_messages).to_string()),
                ("max_message_size", limit(config.max_message_size.into()).to_string()),
                ("replicas", config.num_replicas.to_string()),
            ]
        };
        Difference::list(settings(&self.wanted(found)), settings(found), true)
    }

    /// Compares an existing bucket and, with `apply`, changes it. `None`: there is no such bucket.
    pub async fn ensure(&self, jetstream: &Context, apply: bool) -> anyhow::Result<Option<ObjectResult>> {
        let name = self.name;
        let found = match within(format!("query bucket {name}"), jetstream.get_stream(&self.stream)).await? {
            Ok(found) => found.cached_info().config.clone(),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let differences = self.differences(&found);
        if differences.is_empty() || !apply {
            return Ok(Some(ObjectResult::of(differences)));
        }
        let changed = jetstream.update_stream(self.wanted(&found));
        match within(format!("change bucket {name}"), changed).await? {
            Ok(_) => Ok(Some(ObjectResult::Updated(differences))),
            Err(error) => {
                let error = anyhow::Error::new(error);
                let refused = differences.into_iter().map(|difference| difference.because(&error)).collect();
                Ok(Some(ObjectResult::Differs(refused)))
            }
        }
    }
}
