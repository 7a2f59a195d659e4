//! The durable pull consumers. Only central uses them, so drifted settings are corrected.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use marketprism_schema::{Carries, DataType, STREAMS, StreamSettings, Table, stream_of};

use super::{Difference, ObjectResult};
use crate::broker::{Broker, within};
use crate::config::{Config, Partition, Stream};
use crate::watermark::Watermarks;

/// Of the names of central's consumers.
const PREFIX: &str = "central-";

/// Settings of one consumer that follow from its purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    pub name: String,
    /// First token of its subjects; all subjects of the stream without one.
    pub data_type: Option<DataType>,
}

impl ConsumerSpec {
    /// Those of all partitions.
    pub fn all(stream: &Stream) -> Vec<Self> {
        Partition::all(stream).flat_map(|partition| Self::of(&stream.settings, partition)).collect()
    }

    /// A consumer for each table, so that one whose rows are refused holds up no other; one for audits.
    ///
    /// With another number of partitions they have other names: none may go on where that of other messages stopped.
    pub fn of(stream: &StreamSettings, partition: Partition) -> Vec<Self> {
        let Partition { index, count, .. } = partition;
        let part = if count > 1 { format!("-{index}-of-{count}") } else { String::new() };
        let of_table = |&data_type: &DataType| Self {
            name: format!("{PREFIX}{}{part}", Table::of(data_type).name.replace('_', "-")),
            data_type: Some(data_type),
        };
        match stream.carries {
            Carries::Events => {
                let own = DataType::ALL.iter().filter(|&&data_type| stream_of(data_type) == stream.name);
                own.map(of_table).collect()
            }
            Carries::Audits => {
                let name = format!("{PREFIX}{}", stream.name.to_lowercase().replace('_', "-"));
                vec![Self { name, data_type: None }]
            }
        }
    }

    pub fn wanted(&self, stream: &Stream, ack_wait: Duration) -> pull::Config {
        let (purpose, ack_policy) = match self.data_type {
            // One acknowledgement covers all messages before it.
            Some(_) => ("rows of hot storage", AckPolicy::All),
            None => ("audits of edges for the ledger", AckPolicy::Explicit),
        };
        pull::Config {
            durable_name: Some(self.name.clone()),
            description: Some(purpose.to_owned()),
            deliver_policy: DeliverPolicy::All,
            filter_subject: self.data_type.map(|of| format!("{of}.>")).unwrap_or_default(),
            ack_policy,
            ack_wait,
            // A limit would lose messages during a long outage of ClickHouse.
            max_deliver: -1,
            max_ack_pending: stream.settings.max_ack_pending,
            ..pull::Config::default()
        }
    }
}

/// Start of a consumer that is missing: behind the confirmed messages, which are stored.
pub async fn first_delivery(broker: &Broker, replicas: usize, stream: &str) -> anyhow::Result<DeliverPolicy> {
    let handle = within("query the stream", broker.jetstream.get_stream(stream))
        .await?
        .with_context(|| format!("cannot find stream {stream}"))?;
    let info = handle.cached_info();
    let created_ns = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or_default();
    let written = Watermarks::open(broker, replicas).await?.read(stream).await?;
    Ok(behind(written.sequence_of(created_ns), info.state.last_sequence))
}

/// A broker that lost the end of its log assigns confirmed sequences to other messages.
fn behind(confirmed: u64, last: u64) -> DeliverPolicy {
    if confirmed == 0 || confirmed > last {
        DeliverPolicy::All
    } else {
        DeliverPolicy::ByStartSequence { start_sequence: confirmed.saturating_add(1) }
    }
}

pub async fn ensure(
    config: &Config,
    broker: &Broker,
    stream: &Stream,
    spec: &ConsumerSpec,
) -> anyhow::Result<ObjectResult> {
    let jetstream = &broker.jetstream;
    let mut wanted = spec.wanted(stream, config.ack_wait);
    let (name, stream_name) = (&spec.name, stream.settings.name);
    let found = found(jetstream, stream_name, name).await?;
    let differences = found.as_ref().map(|found| compare(&wanted, found)).unwrap_or_default();
    if found.is_some() && (differences.is_empty() || differences.iter().any(|d| !d.changeable)) {
        return Ok(ObjectResult::of(differences));
    }
    wanted.deliver_policy = match &found {
        // The start of a consumer cannot be changed.
        Some(found) => found.deliver_policy,
        None => first_delivery(broker, config.replicas(), stream_name).await?,
    };
    jetstream
        .create_consumer_on_stream(wanted, stream_name)
        .await
        .with_context(|| format!("cannot create or update consumer {name} of stream {stream_name}"))?;
    Ok(if found.is_some() { ObjectResult::Updated(differences) } else { ObjectResult::Created })
}

pub async fn compare_only(
    jetstream: &Context,
    stream: &Stream,
    spec: &ConsumerSpec,
    ack_wait: Duration,
) -> anyhow::Result<ObjectResult> {
    let differences = match found(jetstream, stream.settings.name, &spec.name).await? {
        Some(found) => compare(&spec.wanted(stream, ack_wait), &found),
        None => vec![Difference::missing()],
    };
    Ok(ObjectResult::of(differences))
}

/// A consumer with a name of central's form.
pub fn is_central(consumer: &str) -> bool {
    consumer.starts_with(PREFIX)
}

/// A consumer of central's form that is not one of a stream in this many partitions, as an older central had, or another number of partitions.
pub fn is_unused((stream, partitions): (&str, u16), consumer: &str) -> bool {
    let settings = STREAMS.iter().find(|settings| settings.name == stream);
    let used = settings.map(|settings| Stream { settings: settings.clone(), replicas: 1, partitions });
    let mut used = used.as_ref().map(ConsumerSpec::all).unwrap_or_default().into_iter();
    is_central(consumer) && used.all(|spec| spec.name != consumer)
}

/// Deletes central's consumers of a stream, so that they begin behind the confirmed messages when they are created again.
pub async fn delete_all(jetstream: &Context, stream: &str) -> anyhow::Result<()> {
    let handle =
        jetstream.get_stream(stream).await.with_context(|| format!("cannot find stream {stream}"))?;
    for name in names(jetstream, stream).await?.iter().filter(|name| is_central(name)) {
        handle.delete_consumer(name).await.with_context(|| format!("cannot delete consumer {name}"))?;
    }
    Ok(())
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
    // A consumer that was created again or rewound starts at a sequence.
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
        // With each of these the broker delivers less than central asks for, or nothing.
        Difference::between("filter_subjects", "[]", shown(&found.filter_subjects), true),
        Difference::between("paused", "false", is_paused(found), true),
        Difference::between("headers_only", false, found.headers_only, true),
        Difference::between("backoff", "[]", shown(&found.backoff), true),
        Difference::between("inactive_threshold_ms", 0, found.inactive_threshold.as_millis(), true),
        // A pull request above one of these is refused.
        Difference::between("max_batch", 0, found.max_batch, true),
        Difference::between("max_bytes", 0, found.max_bytes, true),
        Difference::between("max_expires_ms", 0, found.max_expires.as_millis(), true),
        Difference::between("priority_groups", "[]", shown(&found.priority_groups), true),
        Difference::between(
            "replay_policy",
            shown(&wanted.replay_policy),
            shown(&found.replay_policy),
            false,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `nats consumer pause` ends by itself, at a time that may lie far ahead.
fn is_paused(found: &async_nats::jetstream::consumer::Config) -> bool {
    found.pause_until.is_some_and(|until| until > time::OffsetDateTime::now_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_of_an_older_central_are_not_used() {
        let is = |consumer| is_unused(("MARKET_DATA", 1), consumer);
        assert_eq!(["central-market-data", "central-audit", "central-trades-0-of-2"].map(is), [true; 3]);
        assert_eq!(["central-trades", "someone-else"].map(is), [false; 2]);
        let is = |consumer| is_unused(("MARKET_DATA", 2), consumer);
        assert_eq!(["central-trades", "central-trades-2-of-3"].map(is), [true; 2]);
        assert_eq!(["central-trades-0-of-2", "central-trades-1-of-2"].map(is), [false; 2]);
    }

    #[test]
    fn a_missing_consumer_begins_behind_the_confirmed_messages() {
        let from = |start_sequence| DeliverPolicy::ByStartSequence { start_sequence };
        assert_eq!([behind(7, 9), behind(9, 9)], [from(8), from(10)]);
        assert_eq!([behind(0, 9), behind(0, 0)], [DeliverPolicy::All; 2], "nothing is confirmed");
        assert_eq!(behind(10, 9), DeliverPolicy::All, "the broker lost confirmed messages");
    }

    #[test]
    fn a_consumer_that_delivers_less_or_nothing_is_named() {
        use async_nats::jetstream::consumer::{IntoConsumerConfig as _, ReplayPolicy};

        let stream = Stream { settings: STREAMS[0].clone(), replicas: 1, partitions: 1 };
        let wanted = ConsumerSpec::all(&stream)[0].wanted(&stream, Duration::from_secs(60));
        let named = |change: fn(&mut async_nats::jetstream::consumer::Config)| {
            let mut found = wanted.clone().into_consumer_config();
            change(&mut found);
            let differences = compare(&wanted, &found).into_iter();
            differences.map(|difference| (difference.setting, difference.changeable)).collect::<Vec<_>>()
        };
        let alone = |setting: &str, changeable| vec![(setting.to_owned(), changeable)];
        assert_eq!(named(|_| {}), []);
        assert_eq!(
            named(|found| found.pause_until = Some(time::OffsetDateTime::now_utc() + time::Duration::HOUR)),
            alone("paused", true)
        );
        let over = named(|found| found.pause_until = Some(time::OffsetDateTime::UNIX_EPOCH));
        assert_eq!(over, [], "the pause is over");
        assert_eq!(named(|found| found.headers_only = true), alone("headers_only", true));
        assert_eq!(named(|found| found.backoff = vec![Duration::MAX]), alone("backoff", true));
        assert_eq!(named(|found| found.max_batch = 100), alone("max_batch", true));
        assert_eq!(named(|found| found.filter_subjects = vec!["a".into()]), alone("filter_subjects", true));
        assert_eq!(
            named(|found| found.replay_policy = ReplayPolicy::Original),
            alone("replay_policy", false)
        );
    }

    #[test]
    fn every_table_has_a_consumer_without_a_delivery_limit() {
        let stream = |i: usize| Stream { settings: STREAMS[i].clone(), replicas: 1, partitions: 1 };
        let of = |i: usize| ConsumerSpec::all(&stream(i));
        let names = |i: usize| of(i).into_iter().map(|spec| spec.name).collect::<Vec<_>>();
        assert_eq!(names(0).len(), STREAMS[0].subjects.len());
        assert_eq!(
            (names(0)[0].as_str(), names(1)),
            (
                "central-trades",
                ["central-orderbooks", "central-orderbook-deltas", "central-quotes"]
                    .map(str::to_owned)
                    .to_vec()
            )
        );
        assert_eq!(names(2), ["central-audit"]);
        let trades = of(0)[0].wanted(&stream(0), Duration::from_secs(60));
        assert_eq!((trades.max_deliver, trades.max_ack_pending), (-1, 100_000));
        assert_eq!((trades.filter_subject.as_str(), trades.ack_policy), ("trade.>", AckPolicy::All));
        let audits = of(2)[0].wanted(&stream(2), Duration::from_secs(60));
        assert_eq!((audits.filter_subject.as_str(), audits.ack_policy), ("", AckPolicy::Explicit));
    }
}
