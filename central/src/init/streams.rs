use std::collections::HashMap;

use anyhow::{Context as _, anyhow, bail};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::{Difference, ObjectResult};
use crate::broker::{Broker, is_missing, within};
use crate::config::Stream;

/// On disk, oldest messages discarded first, limited by bytes and age only.
fn wanted(stream: &Stream) -> Config {
    let settings = &stream.settings;
    Config {
        name: settings.name.to_owned(),
        subjects: settings.subjects.iter().map(|&subject| subject.to_owned()).collect(),
        max_bytes: settings.max_bytes,
        max_age: settings.max_age,
        duplicate_window: settings.duplicate_window,
        num_replicas: stream.replicas,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        allow_direct: true,
        metadata: metadata(stream.partitions),
        ..Config::default()
    }
}

/// Key of the metadata: all centrals must agree on the number of partitions, or two would take one message.
const PARTITIONS: &str = "marketprism-partitions";

fn metadata(partitions: u16) -> HashMap<String, String> {
    HashMap::from([(PARTITIONS.to_owned(), partitions.to_string())])
}

/// Number of partitions in which centrals take a stream.
pub fn partitions_of(config: &Config) -> u16 {
    config.metadata.get(PARTITIONS).and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Number of partitions of an existing stream.
pub async fn partitions(jetstream: &Context, name: &str) -> anyhow::Result<Option<u16>> {
    let found = within("query the stream", found(jetstream, name)).await??;
    Ok(found.as_ref().map(partitions_of))
}

/// Creates a missing stream; compares an existing one and, with `apply`, changes what can be changed.
pub async fn ensure(jetstream: &Context, stream: &Stream, apply: bool) -> anyhow::Result<ObjectResult> {
    let wanted = wanted(stream);
    let name = stream.settings.name;
    let Some(found) = found(jetstream, name).await? else {
        return create(jetstream, wanted).await.map(|()| ObjectResult::Created);
    };
    let differences = compare(&wanted, &found);
    let only_changeable = differences.iter().all(|difference| difference.changeable);
    if differences.is_empty() || !apply || !only_changeable {
        return Ok(ObjectResult::of(differences));
    }
    // Settings unknown here, such as placement or mirrors, stay as they are.
    let changed = Config {
        subjects: wanted.subjects,
        max_bytes: wanted.max_bytes,
        max_age: wanted.max_age,
        duplicate_window: wanted.duplicate_window,
        num_replicas: wanted.num_replicas,
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        max_message_size: wanted.max_message_size,
        subject_transform: wanted.subject_transform,
        discard: wanted.discard,
        metadata: found.metadata.clone().into_iter().chain(wanted.metadata).collect(),
        ..found
    };
    match jetstream.update_stream(&changed).await {
        Ok(_) => Ok(ObjectResult::Updated(differences)),
        Err(error) => Err(refused("update", jetstream, error, &changed).await),
    }
}

/// True if the stream is there, and how it differs.
pub async fn compare_only(jetstream: &Context, stream: &Stream) -> anyhow::Result<(bool, ObjectResult)> {
    let wanted = wanted(stream);
    let found = found(jetstream, stream.settings.name).await?;
    let differences = match &found {
        Some(found) => compare(&wanted, found),
        None => match holder(jetstream, &wanted).await {
            Some((holder, subject)) => vec![Difference::taken(&subject, &holder)],
            None => vec![Difference::missing()],
        },
    };
    Ok((found.is_some(), ObjectResult::of(differences)))
}

/// Another stream that takes one of the subjects.
async fn holder(jetstream: &Context, wanted: &Config) -> Option<(String, String)> {
    for subject in &wanted.subjects {
        match jetstream.stream_by_subject(subject.clone()).await {
            Ok(holder) if holder != wanted.name => return Some((holder, subject.clone())),
            _ => {}
        }
    }
    None
}

async fn found(jetstream: &Context, name: &str) -> anyhow::Result<Option<Config>> {
    match jetstream.get_stream(name).await {
        Ok(found) => Ok(Some(found.cached_info().config.clone())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot query stream {name}")),
    }
}

fn compare(wanted: &Config, found: &Config) -> Vec<Difference> {
    let sorted = |subjects: &[String]| {
        let mut subjects = subjects.to_vec();
        subjects.sort();
        subjects.join(" ")
    };
    // The server reports "no limit" as -1; 0 means the same.
    let limit = |value: i64| if value <= 0 { -1 } else { value };
    let changeable = |config: &Config| {
        [
            ("subjects", sorted(&config.subjects)),
            ("max_bytes", limit(config.max_bytes).to_string()),
            ("max_age_seconds", config.max_age.as_secs().to_string()),
            ("duplicate_window_seconds", config.duplicate_window.as_secs().to_string()),
            ("replicas", config.num_replicas.to_string()),
            ("max_messages", limit(config.max_messages).to_string()),
            ("max_messages_per_subject", limit(config.max_messages_per_subject).to_string()),
            ("max_message_size", limit(config.max_message_size.into()).to_string()),
            ("subject_transform", format!("{:?}", config.subject_transform)),
            ("discard", format!("{:?}", config.discard)),
            ("partitions", partitions_of(config).to_string()),
        ]
    };
    let immutable = |config: &Config| {
        [
            ("storage", format!("{:?}", config.storage)),
            ("retention", format!("{:?}", config.retention)),
            ("no_ack", config.no_ack.to_string()),
            ("mirror", format!("{:?}", config.mirror.as_ref().map(|source| &source.name))),
            // The asynchronous one acknowledges what is not written yet.
            ("persist_mode", format!("{:?}", config.persist_mode.unwrap_or_default())),
            ("sealed", config.sealed.to_string()),
        ]
    };
    let mut differences = Difference::list(changeable(wanted), changeable(found), true);
    differences.extend(Difference::list(immutable(wanted), immutable(found), false));
    differences
}

async fn create(jetstream: &Context, wanted: Config) -> anyhow::Result<()> {
    let Err(error) = jetstream.create_stream(&wanted).await else { return Ok(()) };
    // Another central created it meanwhile; the next comparison sees its stream.
    if matches!(error.kind(), CreateStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NAME_EXIST)
    {
        return Ok(());
    }
    Err(refused("create", jetstream, error, &wanted).await)
}

/// A stream that the broker refuses, with the remedy.
async fn refused(
    what: &str,
    jetstream: &Context,
    error: CreateStreamError,
    wanted: &Config,
) -> anyhow::Error {
    let Config { name, max_bytes, num_replicas: replicas, .. } = wanted;
    let CreateStreamErrorKind::JetStream(answer) = error.kind() else {
        return anyhow::Error::new(error).context(format!("cannot {what} stream {name}"));
    };
    let section = name.to_lowercase();
    match answer.error_code() {
        ErrorCode::STREAM_SUBJECT_OVERLAP => match holder(jetstream, wanted).await {
            Some((holder, subject)) => {
                anyhow!("cannot {what} stream {name}: {}", Difference::taken(&subject, &holder))
            }
            None => anyhow!("cannot {what} stream {name}: another stream takes its subjects ({answer})"),
        },
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => anyhow!(
            "the broker has no room for stream {name}: {max_bytes} bytes with {replicas} replica(s) wanted; raise \
             its jetstream max_file_store, or the limit of the account, or lower max_bytes of [streams.{section}] ({answer})"
        ),
        ErrorCode::MAXIMUM_STREAMS_LIMIT => anyhow!(
            "cannot {what} stream {name}: the broker's account may have no further stream; raise its max_streams ({answer})"
        ),
        ErrorCode::CLUSTER_NO_PEERS => anyhow!(
            "cannot {what} stream {name}: too few servers of the broker's cluster have room for {replicas} replica(s) of \
             {max_bytes} bytes; add servers, or lower replicas or max_bytes of [streams.{section}] ({answer})"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot {what} stream {name}")),
    }
}

/// Compares the total size of all streams and of the bucket of adapters with the storage limit of the account, if there is one.
pub async fn check_room(broker: &Broker, streams: &[Stream], adapters_bytes: i64) -> anyhow::Result<()> {
    let account = broker.account().await?;
    let replicas = streams.iter().map(|stream| stream.replicas).max().unwrap_or(1);
    let sizes = streams.iter().map(|stream| (stream.settings.max_bytes, stream.replicas));
    let wanted = sizes
        .chain([(adapters_bytes, replicas)])
        .map(|(bytes, replicas)| bytes.saturating_mul(i64::try_from(replicas).unwrap_or(i64::MAX)))
        .fold(0, i64::saturating_add);
    match account.limits.max_storage {
        Some(limit) if limit > 0 && limit < wanted => bail!(
            "the broker's account may store {limit} bytes, the streams and the bucket of adapters may take {wanted} together; raise the account's \
             limit, or lower max_bytes in [streams] or adapters.bucket_max_bytes"
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::{PersistenceMode, Source, SubjectTransform};
    use marketprism_schema::STREAMS;

    use super::*;

    #[test]
    fn stream_differences_ignore_order_and_spelling() {
        let [settings, ..] = STREAMS;
        let wanted = wanted(&Stream { settings, replicas: 1, partitions: 1 });
        let mut found = wanted.clone();
        found.subjects.reverse();
        found.max_messages = 0;
        assert_eq!(compare(&wanted, &found), vec![]);

        found.metadata.clear();
        assert_eq!(compare(&wanted, &found), vec![], "a stream of an older central is in one part");

        found.max_bytes = 7;
        found.storage = StorageType::Memory;
        let differences = compare(&wanted, &found);
        let named: Vec<_> = differences.iter().map(|d| (d.setting.as_str(), d.changeable)).collect();
        assert_eq!(named, vec![("max_bytes", true), ("storage", false)]);
        assert_eq!(differences[0].found, "7");

        let named = |change: fn(&mut Config)| {
            let mut found = wanted.clone();
            change(&mut found);
            let differences = compare(&wanted, &found).into_iter();
            differences.map(|d| (d.setting, d.changeable)).collect::<Vec<_>>()
        };
        let alone = |setting: &str, changeable| vec![(setting.to_owned(), changeable)];
        assert_eq!(named(|found| found.max_message_size = 1_000), alone("max_message_size", true));
        assert_eq!(named(|found| found.mirror = Some(Source::default())), alone("mirror", false));
        assert_eq!(named(|found| found.persist_mode = Some(PersistenceMode::Default)), []);
        assert_eq!(
            named(|found| found.persist_mode = Some(PersistenceMode::Async)),
            alone("persist_mode", false)
        );
        let moved = named(|found| {
            let (source, destination) = ("trade.>".to_owned(), "moved.>".to_owned());
            found.subject_transform = Some(SubjectTransform { source, destination });
        });
        assert_eq!(moved, alone("subject_transform", true));
    }
}
