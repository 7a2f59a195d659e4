//! The durable pull consumers. Only central uses them, so drifted settings are corrected.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use marketprism_schema::Carries;

use super::{Difference, ObjectResult};
use crate::config::Stream;

/// `MARKET_DATA` has `central-market-data`.
pub fn consumer_name(stream: &str) -> String {
    format!("central-{}", stream.to_lowercase().replace('_', "-"))
}

pub fn wanted(stream: &Stream, ack_wait: Duration) -> pull::Config {
    let purpose = match stream.settings.carries {
        Carries::Events => "rows of hot storage",
        Carries::Audits => "audits of edges for the ledger",
    };
    pull::Config {
        durable_name: Some(consumer_name(stream.settings.name)),
        description: Some(purpose.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        // A limit would lose messages during a long outage of ClickHouse.
        max_deliver: -1,
        max_ack_pending: stream.settings.max_ack_pending,
        ..pull::Config::default()
    }
}

pub async fn ensure(
    jetstream: &Context,
    stream: &Stream,
    ack_wait: Duration,
) -> anyhow::Result<(String, ObjectResult)> {
    let mut wanted = wanted(stream, ack_wait);
    let name = consumer_name(stream.settings.name);
    let stream_name = stream.settings.name;
    let found = found(jetstream, stream_name, &name).await?;
    let differences = found.as_ref().map(|found| compare(&wanted, found)).unwrap_or_default();
    if found.is_some() && (differences.is_empty() || differences.iter().any(|d| !d.changeable)) {
        return Ok((name, ObjectResult::of(differences)));
    }
    // The start of a rewound consumer cannot be changed.
    if let Some(found) = &found {
        wanted.deliver_policy = found.deliver_policy;
    }
    jetstream
        .create_consumer_on_stream(wanted, stream_name)
        .await
        .with_context(|| format!("cannot create or update consumer {name} of stream {stream_name}"))?;
    let outcome = if found.is_some() { ObjectResult::Updated(differences) } else { ObjectResult::Created };
    Ok((name, outcome))
}

pub async fn compare_only(
    jetstream: &Context,
    stream: &Stream,
    ack_wait: Duration,
) -> anyhow::Result<(String, ObjectResult)> {
    let name = consumer_name(stream.settings.name);
    let differences = match found(jetstream, stream.settings.name, &name).await? {
        Some(found) => compare(&wanted(stream, ack_wait), &found),
        None => vec![Difference::missing()],
    };
    Ok((name, ObjectResult::of(differences)))
}

async fn found(
    jetstream: &Context,
    stream: &str,
    name: &str,
) -> anyhow::Result<Option<async_nats::jetstream::consumer::Config>> {
    if !names(jetstream, stream).await?.iter().any(|found| found == name) {
        return Ok(None);
    }
    let consumer: PullConsumer = jetstream
        .get_consumer_from_stream(name, stream)
        .await
        .with_context(|| format!("cannot query consumer {name}"))?;
    Ok(Some(consumer.cached_info().config.clone()))
}

async fn names(jetstream: &Context, stream: &str) -> anyhow::Result<Vec<String>> {
    use futures_util::TryStreamExt as _;

    let handle =
        jetstream.get_stream(stream).await.with_context(|| format!("cannot find stream {stream}"))?;
    handle
        .consumer_names()
        .try_collect()
        .await
        .with_context(|| format!("cannot list the consumers of stream {stream}"))
}

fn compare(wanted: &pull::Config, found: &async_nats::jetstream::consumer::Config) -> Vec<Difference> {
    let shown = |value: &dyn std::fmt::Debug| format!("{value:?}");
    // A consumer that was rewound starts at a sequence.
    let is_rewound = matches!(found.deliver_policy, DeliverPolicy::ByStartSequence { .. });
    let found_policy = if is_rewound { wanted.deliver_policy } else { found.deliver_policy };
    [
        Difference::between("ack_wait_ms", wanted.ack_wait.as_millis(), found.ack_wait.as_millis(), true),
        Difference::between("max_deliver", wanted.max_deliver, found.max_deliver, true),
        Difference::between("max_ack_pending", wanted.max_ack_pending, found.max_ack_pending, true),
        Difference::between("filter_subject", &wanted.filter_subject, &found.filter_subject, true),
        Difference::between("ack_policy", shown(&wanted.ack_policy), shown(&found.ack_policy), false),
        Difference::between("deliver_policy", shown(&wanted.deliver_policy), shown(&found_policy), false),
        Difference::between("deliver_subject", "None", shown(&found.deliver_subject), false),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use marketprism_schema::STREAMS;

    #[test]
    fn every_stream_has_a_consumer_without_a_delivery_limit() {
        let consumer =
            |i: usize| wanted(&Stream { settings: STREAMS[i].clone(), replicas: 1 }, Duration::from_secs(60));
        let market_data = consumer(0);
        assert_eq!(market_data.durable_name.as_deref(), Some("central-market-data"));
        assert_eq!((market_data.max_deliver, market_data.max_ack_pending), (-1, 100_000));
        assert_eq!(consumer(2).durable_name.as_deref(), Some("central-audit"));
    }
}
