//! Partitions of a stream of events: each is taken by one central at a time, so that several centrals share the stream.

use xxhash_rust::xxh3::xxh3_64;

use super::Stream;

/// Part of a stream's messages by subject: copies of an event have one subject, so they are in one partition.
///
/// The owner of the first partition also watches the whole stream: it confirms, records losses, and recovers what a hot that was put back lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    pub stream: &'static str,
    pub index: u16,
    pub count: u16,
}

impl Partition {
    pub fn all(stream: &Stream) -> impl Iterator<Item = Self> + use<> {
        Self::numbered(stream.settings.name, stream.partitions)
    }

    pub fn numbered(stream: &'static str, count: u16) -> impl Iterator<Item = Self> {
        (0..count).map(move |index| Self { stream, index, count })
    }

    pub const fn first(stream: &Stream) -> Self {
        Self { stream: stream.settings.name, index: 0, count: stream.partitions }
    }

    pub const fn is_first(self) -> bool {
        self.index == 0
    }

    /// Name in leases, logs and health. That of the first one is the stream's, whatever their number is.
    pub fn name(self) -> String {
        let Self { stream, index, .. } = self;
        if self.is_first() { stream.to_owned() } else { format!("{stream}-{index}") }
    }

    pub fn has(self, subject: &str) -> bool {
        self.count <= 1 || xxh3_64(subject.as_bytes()) % u64::from(self.count) == u64::from(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One message in two partitions would be stored twice, in none never.
    #[test]
    fn every_subject_is_in_one_partition_and_each_partition_gets_its_share() {
        for count in 1..=8 {
            let partitions: Vec<_> = Partition::numbered("MARKET_DATA", count).collect();
            let mut taken = vec![0; partitions.len()];
            for n in 0..1_000 {
                let subject = format!("trade.venue.spot.C{n}-USDT");
                let of: Vec<usize> = (0..partitions.len()).filter(|i| partitions[*i].has(&subject)).collect();
                assert_eq!(of.len(), 1, "{subject} of {count}");
                taken[of[0]] += 1;
            }
            assert!(taken.iter().all(|subjects| subjects * usize::from(count) > 500), "{taken:?}");
        }
    }

    /// A central that is configured for another number must meet the same lease.
    #[test]
    fn the_first_partition_has_the_name_of_the_stream() {
        let names = |count| Partition::numbered("A", count).map(Partition::name).collect::<Vec<_>>();
        assert_eq!(
            (names(1), names(3)),
            (vec!["A".to_owned()], ["A", "A-1", "A-2"].map(str::to_owned).to_vec())
        );
    }
}
