//! The bucket at a real broker: its limit, pieces of broken-off pushes, deletions.

use std::time::Duration;

use async_nats::jetstream::stream;
use marketprism_tests::broker::Broker as Server;
use marketprism_tests::parts;

use super::bucket::{AdapterBucket, StoredAdapter};
use super::usage::AdapterUsage;
use crate::broker::{Broker, is_no_room};
use crate::config::Config;
use crate::limits::{ADAPTER_LEFTOVER_AGE, BROKER_CONNECT_WAIT};

const MIB: i64 = 1 << 20;

async fn connected(server: &Server) -> Broker {
    let nats = Config::parse(&format!("[nats]\nurls = [{:?}]\n", server.url())).unwrap().nats;
    let broker = Broker::start(&nats).await.unwrap();
    broker.connected(&nats, BROKER_CONNECT_WAIT).await.unwrap();
    broker
}

async fn store(bucket: &AdapterBucket, digest: &str, bytes: usize) -> anyhow::Result<bool> {
    let adapter = StoredAdapter { bytes, ..StoredAdapter::fixture("x", "1", digest) };
    let stored = bucket.store(adapter, &vec![7; bytes], &AdapterUsage::default()).await;
    stored.map(|(_, is_new)| is_new)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_what_broken_off_pushes_left_is_cleaned_up() {
    if parts::missing().is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let broker = connected(&server).await;
    let bucket = AdapterBucket::open(&broker, 1, MIB).await.unwrap();
    let pieces = async || broker.subjects("OBJ_adapters", "$O.adapters.C.>").await.unwrap().unwrap().subjects;
    assert!(store(&bucket, "one", 300_000).await.unwrap());
    assert!(!store(&bucket, "one", 300_000).await.unwrap(), "it is there");

    let left = broker.jetstream.publish("$O.adapters.C.left", vec![0; 1_000].into()).await.unwrap();
    left.await.unwrap();
    assert_eq!(bucket.clean(ADAPTER_LEFTOVER_AGE).await.unwrap(), 0, "its push may still run");
    assert_eq!(pieces().await.len(), 2);
    assert_eq!(bucket.clean(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(pieces().await.into_values().collect::<Vec<_>>(), [3], "those of the component stay");

    let error = store(&bucket, "two", 900_000).await.unwrap_err().to_string();
    for part in ["with this component of 900000 bytes", "allowed: 1048576, its limit", "the oldest: x@1+one)"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let same = AdapterBucket::open(&broker, 1, 2 * MIB).await.unwrap();
    assert_eq!((same.max_bytes, same.is_new), (MIB, false), "a command changes nothing");
    assert!(store(&same, "two", 900_000).await.is_err());
    let stream = broker.jetstream.get_stream("OBJ_adapters").await.unwrap();
    let config = stream::Config { max_bytes: 2 * MIB, ..stream.cached_info().config.clone() };
    broker.jetstream.update_stream(config).await.unwrap();
    let larger = AdapterBucket::open(&broker, 1, MIB).await.unwrap();
    assert!(store(&larger, "two", 900_000).await.unwrap());

    for adapter in larger.list().await.unwrap() {
        larger.delete(&adapter).await.unwrap();
    }
    assert!(larger.list().await.unwrap().is_empty() && pieces().await.is_empty());
    assert!(store(&larger, "one", 300_000).await.unwrap());
    stream.purge().filter("$O.adapters.C.>").await.unwrap();
    assert!(store(&larger, "one", 300_000).await.unwrap(), "its pieces are missing: it is stored again");
    broker.jetstream.delete_object_store("adapters").await.unwrap();
    let refused = AdapterBucket::open(&broker, 1, 100 << 30).await.err().unwrap();
    assert!(is_no_room(&refused), "{refused:#}");
}
