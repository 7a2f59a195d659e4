use anyhow::Context as _;
use marketprism_schema::{ADAPTER_OBJECTS_BUCKET, DatabaseKind};
use tokio::time::timeout;

use super::{
    ConsumerSpec, Difference, ObjectResult, ProvisionReport, SharedBucket, consumers, databases,
    passed_settings, streams, versions,
};
use crate::adapters::{AdapterBucket, Wishes};
use crate::broker::{Broker, is_no_room};
use crate::config::{Config, Partition, Stream};
use crate::lease::{self, Lease, Leases};
use crate::limits;
use crate::running_inserts::{none_runs, of_stream};
use crate::storage::Storage;
use crate::watermark::Watermarks;

/// Of the names of the leases of partitions.
pub const INGEST_LEASES: &str = "ingest-";

/// Connects, provisions everything and reports it. Changes differences only with `apply`.
pub async fn once(config: &Config, apply: bool) -> anyhow::Result<ProvisionReport> {
    let broker = Broker::start(&config.nats).await?;
    broker.connected(&config.nats, limits::BROKER_CONNECT_WAIT).await?;
    let name = format!("init-{}-{:016x}", std::process::id(), rand::random::<u64>());
    let leases = Leases::new(&broker, config, &name);
    ensure(config, &broker, &leases, &DatabaseKind::ALL, apply).await
}

/// Provisions these databases, and the streams with the hot one. Fails if the broker or a server cannot be queried;
/// differences are in the report.
pub async fn ensure(
    config: &Config,
    broker: &Broker,
    leases: &Leases,
    sides: &[DatabaseKind],
    apply: bool,
) -> anyhow::Result<ProvisionReport> {
    let mut report = ProvisionReport::default();
    if sides.contains(&DatabaseKind::Hot) {
        let ensured = ensure_streams(config, (broker, leases), apply, &mut report).await;
        ensured.map_err(|error| broker.explain(error))?;
        let ensured = ensure_buckets(config, broker, apply, &mut report).await;
        ensured.map_err(|error| broker.explain(error))?;
    }
    for side in sides {
        let storage = Storage::of(&config.clickhouse, *side)?;
        let layout = databases::layout(config, *side);
        passed_settings::check(&storage).await?;
        databases::ensure(&storage, &layout, leases, apply, &mut report).await?;
    }
    Ok(report)
}

/// An error if the streams may take more than the broker's account may store.
pub async fn check_room(config: &Config, broker: &Broker) -> anyhow::Result<()> {
    streams::check_room(broker, &config.streams, config.adapters.bucket_max_bytes).await
}

/// Compares streams and consumers without changing them; a missing one is a difference. Fails if the broker cannot be queried.
pub async fn compare_streams(config: &Config, broker: &Broker) -> anyhow::Result<ProvisionReport> {
    let mut report = ProvisionReport::default();
    for stream in &config.streams {
        let name = stream.settings.name;
        let (is_there, outcome) = streams::compare_only(&broker.jetstream, stream).await?;
        report.add("stream", name, outcome);
        if is_there {
            for spec in ConsumerSpec::all(stream) {
                let outcome =
                    consumers::compare_only(&broker.jetstream, stream, &spec, config.ack_wait).await?;
                report.add("consumer", &spec.name, outcome);
            }
        }
    }
    Ok(report)
}

/// Edges may not create buckets.
async fn ensure_buckets(
    config: &Config,
    broker: &Broker,
    apply: bool,
    report: &mut ProvisionReport,
) -> anyhow::Result<()> {
    let replicas = config.replicas();
    let mut created = create_adapter_bucket(config, broker).await?;
    Wishes::open(broker, replicas).await?;
    Watermarks::open(broker, replicas).await?;
    broker.bucket(lease::BUCKET, lease::BUCKET_DESCRIPTION, replicas).await?;
    for bucket in SharedBucket::all(config) {
        let created = created.take_if(|_| bucket.name == ADAPTER_OBJECTS_BUCKET);
        let outcome = match created {
            Some(created) => Some(created),
            None => bucket.ensure(&broker.jetstream, apply).await?,
        };
        if let Some(outcome) = outcome {
            report.add("bucket", bucket.name, outcome);
        }
    }
    Ok(())
}

/// `None`: it was there. Without room for it only pushes of adapters are refused: everything else goes on, and the difference is reported.
async fn create_adapter_bucket(config: &Config, broker: &Broker) -> anyhow::Result<Option<ObjectResult>> {
    match AdapterBucket::open(broker, config.replicas(), config.adapters.bucket_max_bytes).await {
        Ok(bucket) => {
            bucket.clean_or_warn(limits::ADAPTER_LEFTOVER_AGE).await;
            Ok(bucket.is_new.then_some(ObjectResult::Created))
        }
        Err(error) if is_no_room(&error) => {
            Ok(Some(ObjectResult::Differs(vec![Difference::missing().because(&error)])))
        }
        Err(error) => Err(error),
    }
}

async fn ensure_streams(
    config: &Config,
    (broker, leases): (&Broker, &Leases),
    apply: bool,
    report: &mut ProvisionReport,
) -> anyhow::Result<()> {
    let server = format!("the nats-server at {}", config.nats.shown_urls());
    versions::check(&server, &broker.client.server_info().version, versions::NATS)?;
    check_room(config, broker).await?;
    for stream in &config.streams {
        let change = if apply { PartitionChange::begin(config, broker, leases, stream).await? } else { None };
        let ensured = ensure_stream(config, broker, stream, (apply, change.as_ref()), report).await;
        if let Some(change) = change {
            change.end().await;
        }
        ensured?;
    }
    Ok(())
}

/// `change`: the number of its partitions changes.
async fn ensure_stream(
    config: &Config,
    broker: &Broker,
    stream: &Stream,
    (apply, change): (bool, Option<&PartitionChange>),
    report: &mut ProvisionReport,
) -> anyhow::Result<()> {
    let (jetstream, name) = (&broker.jetstream, stream.settings.name);
    if let Some(change) = change {
        consumers::delete_all(jetstream, name).await?;
        change.check()?;
    }
    report.add("stream", name, streams::ensure(jetstream, stream, apply).await?);
    if streams::partitions(jetstream, name).await?.is_some_and(|found| found != stream.partitions) {
        // The consumers belong to the number that the stream has.
        return Ok(());
    }
    for spec in ConsumerSpec::all(stream) {
        let outcome = consumers::ensure(config, broker, stream, &spec).await?;
        report.add("consumer", &spec.name, outcome);
    }
    Ok(())
}

/// Change of the number of a stream's partitions: nobody may take messages meanwhile, or one that two centrals take would be stored twice.
struct PartitionChange(Vec<Lease>);

impl PartitionChange {
    /// `None` if the number is as configured.
    async fn begin(
        config: &Config,
        broker: &Broker,
        leases: &Leases,
        stream: &Stream,
    ) -> anyhow::Result<Option<Self>> {
        let (name, wanted) = (stream.settings.name, stream.partitions);
        let found = streams::partitions(&broker.jetstream, name).await?.unwrap_or(wanted);
        if found == wanted {
            return Ok(None);
        }
        let mut change = Self(Vec::new());
        let held = async {
            for partition in Partition::numbered(name, found.max(wanted)) {
                change.0.push(leases.demand(&ingest_lease(partition), limits::SHARE_PATIENCE).await?);
            }
            let storage = Storage::hot(&config.clickhouse)?;
            let on_error =
                |reason| tracing::warn!(stream = name, reason, "waiting for inserts of earlier owners");
            let prefix = of_stream(name);
            let ended = none_runs(&config.clickhouse, &storage, &prefix, on_error);
            timeout(storage.insert_timeout * 3, ended).await.context("inserts of the stream still run in hot")
        };
        match held.await {
            Ok(()) => Ok(Some(change)),
            Err(error) => {
                change.end().await;
                Err(error.context(format!(
                    "cannot change the partitions of stream {name} from {found} to {wanted}"
                )))
            }
        }
    }

    /// A process that was suspended does not know yet that it lost a lease.
    fn check(&self) -> anyhow::Result<()> {
        let is_held = |lease: &Lease| lease.valid_for() >= lease.times().write_margin();
        anyhow::ensure!(
            self.0.iter().all(is_held),
            "the leases of the partitions expired meanwhile; run it again"
        );
        Ok(())
    }

    async fn end(self) {
        for lease in self.0 {
            lease.release().await;
        }
    }
}

/// Lease of the central that takes a partition.
pub fn ingest_lease(partition: Partition) -> String {
    format!("{INGEST_LEASES}{}", partition.name())
}

#[cfg(test)]
mod tests {
    use marketprism_tests::broker::Broker as Server;
    use marketprism_tests::parts;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn only_apply_changes_the_limit_of_the_bucket_and_no_room_for_it_is_reported_once() {
        if parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path()).await;
        let config = |max_bytes: i64| {
            let text =
                format!("[nats]\nurls = [{:?}]\n[adapters]\nbucket_max_bytes = {max_bytes}\n", server.url());
            Config::parse(&text).unwrap()
        };
        let (small, large, too_large) = (config(1 << 20), config(2 << 20), config(1 << 40));
        let broker = Broker::start(&small.nats).await.unwrap();
        broker.connected(&small.nats, limits::BROKER_CONNECT_WAIT).await.unwrap();
        let ensured = async |config, apply| {
            let mut report = ProvisionReport::default();
            ensure_buckets(config, &broker, apply, &mut report).await.unwrap();
            let text = report.to_string();
            assert_eq!(text.matches("bucket adapters: ").count(), 1, "{text}");
            text.split_once("bucket adapters: ").unwrap().1.trim_end().to_owned()
        };
        let none = ensured(&too_large, false).await;
        assert!(
            none.starts_with("DIFFERS\n  existence: ") && none.contains("insufficient storage"),
            "{none}"
        );
        assert_eq!(ensured(&small, false).await, "created");
        assert_eq!(ensured(&small, false).await, "as wanted");
        let limit = "\n  max_bytes: wanted 2097152, found 1048576";
        assert_eq!(ensured(&large, false).await, format!("DIFFERS{limit}"));
        assert_eq!(ensured(&large, false).await, format!("DIFFERS{limit}"), "nothing was changed");
        let refused = ensured(&too_large, true).await;
        assert!(refused.contains("found 1048576 (") && refused.contains("insufficient storage"), "{refused}");
        assert_eq!(ensured(&large, true).await, format!("changed{limit}"));
        assert_eq!(ensured(&large, false).await, "as wanted");
    }

    /// An age deletes the leases that central holds and the sequences that free the journals.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_bucket_that_deletes_or_refuses_entries_is_named_and_changed_by_apply() {
        if parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path()).await;
        let config = Config::parse(&format!("[nats]\nurls = [{:?}]\n", server.url())).unwrap();
        let broker = Broker::start(&config.nats).await.unwrap();
        broker.connected(&config.nats, limits::BROKER_CONNECT_WAIT).await.unwrap();
        let bucket = &SharedBucket::all(&config)[0];
        let ensured = async |apply| bucket.ensure(&broker.jetstream, apply).await.unwrap();
        assert_eq!(ensured(true).await, None);
        let limited = async_nats::jetstream::kv::Config {
            bucket: bucket.name.to_owned(),
            max_age: std::time::Duration::from_secs(60),
            max_bytes: 4096,
            ..Default::default()
        };
        broker.jetstream.create_key_value(limited).await.unwrap();
        let settings = |result: Option<ObjectResult>| match result.unwrap() {
            ObjectResult::Differs(found) | ObjectResult::Updated(found) => {
                found.into_iter().map(|difference| (difference.setting, difference.found)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        let wrong = [("max_age_seconds", "60"), ("max_bytes", "4096")]
            .map(|(setting, found)| (setting.to_owned(), found.to_owned()));
        assert_eq!(settings(ensured(false).await), wrong);
        assert_eq!(settings(ensured(true).await), wrong);
        assert_eq!(ensured(false).await, Some(ObjectResult::AsWanted));
    }
}
