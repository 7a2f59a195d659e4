//! Confirmed sequences, for edges that want to know which events they may drop: KV bucket `MARKETPRISM_CONFIRMED`.
//!
//! Each stream's key holds the highest contiguous sequence stored in hot. It decreases only when hot was put back to an
//! earlier state; a recreated stream starts again, recognized by its creation time.

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::kv::{Operation, UpdateErrorKind};
use marketprism_schema::EDGE_LEASES_BUCKET;
pub use marketprism_schema::{CONFIRMED_BUCKET as BUCKET, Watermark};

use crate::broker::{Broker, OpenBucket, within};
use crate::clock;

/// A stored value and its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatermarkEntry {
    pub value: Option<Watermark>,
    pub revision: u64,
}

impl WatermarkEntry {
    /// Confirmed sequence of the stream created at this time; 0 if unknown.
    pub fn sequence_of(&self, stream_created_ns: i64) -> u64 {
        let same = self.value.as_ref().filter(|value| value.stream_created_ns == stream_created_ns);
        same.map_or(0, |value| value.confirmed_seq)
    }
}

#[derive(Debug, Clone)]
pub struct Watermarks(OpenBucket);

impl Watermarks {
    /// Opens the bucket, creating it if needed, and the one in which edges hold their names: they may not create it.
    pub async fn open(broker: &Broker, replicas: usize) -> anyhow::Result<Self> {
        broker.bucket(EDGE_LEASES_BUCKET, "processes that run the edges", replicas).await?;
        broker
            .bucket(BUCKET, "highest contiguous sequence of each stream stored in hot", replicas)
            .await
            .map(Self)
    }

    /// The bucket was deleted and created again.
    pub fn is_other(&self, earlier: &Self) -> bool {
        self.0.created_ns != earlier.0.created_ns
    }

    pub async fn read(&self, stream: &str) -> anyhow::Result<WatermarkEntry> {
        let entry = within("read a confirmed sequence", self.0.store.entry(stream))
            .await?
            .with_context(|| format!("cannot read key {stream} of bucket {BUCKET}"))?;
        let Some(entry) = entry else { return Ok(WatermarkEntry::default()) };
        let value = match entry.operation {
            Operation::Put => Some(
                serde_json::from_slice(&entry.value)
                    .with_context(|| format!("bucket {BUCKET}, key {stream}: not a confirmed sequence"))?,
            ),
            Operation::Delete | Operation::Purge => None,
        };
        Ok(WatermarkEntry { value, revision: entry.revision })
    }

    /// Replaces a value. Fails if another process wrote in between: then two centrals own the stream.
    pub async fn write(
        &self,
        stream: &str,
        over: &WatermarkEntry,
        confirmed_seq: u64,
        stream_created_ns: i64,
    ) -> anyhow::Result<WatermarkEntry> {
        let at = clock::now_ns();
        let value = Watermark { stream: stream.to_owned(), confirmed_seq, stream_created_ns, at };
        let bytes = serde_json::to_vec(&value)?.into();
        let updated =
            within("write a confirmed sequence", self.0.store.update(stream, bytes, over.revision)).await?;
        let revision = updated.map_err(|error| match error.kind() {
            UpdateErrorKind::WrongLastRevision => {
                anyhow!("another process wrote key {stream} of bucket {BUCKET} in between: two centrals own the stream")
            }
            _ => anyhow::Error::new(error).context(format!("cannot write key {stream} of bucket {BUCKET}")),
        })?;
        Ok(WatermarkEntry { value: Some(value), revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recreated stream has the same name but other messages.
    #[test]
    fn a_watermark_belongs_to_one_incarnation_of_the_stream() {
        let value =
            Watermark { stream: "MARKET_DATA".to_owned(), confirmed_seq: 7, stream_created_ns: 3, at: 9 };
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(text, r#"{"stream":"MARKET_DATA","confirmed_seq":7,"stream_created_ns":3,"at":9}"#);
        let written = WatermarkEntry { value: Some(value), revision: 5 };
        assert_eq!((written.sequence_of(3), written.sequence_of(4)), (7, 0));
        assert_eq!(WatermarkEntry::default().sequence_of(3), 0);
    }
}
