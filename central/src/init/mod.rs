//! Provisioning of streams, consumers, databases and tables. Creates what is missing, reports differences, deletes nothing but the consumers of
//! another number of partitions.

mod buckets;
mod compared;
mod consumers;
mod databases;
mod drift;
mod ensure;
mod hot_ttl;
mod migrations;
mod passed_settings;
mod shape;
mod state;
mod streams;
mod versions;

pub use buckets::SharedBucket;
pub use consumers::{ConsumerSpec, first_delivery, is_central, is_unused};
pub use drift::{Difference, ObjectResult, ProvisionReport};
pub use ensure::{INGEST_LEASES, check_room, compare_streams, ensure, ingest_lease, once};
pub use hot_ttl::{cold_keeps_less, hot_keeps_less};
pub use state::schema_state;
pub use streams::{ensure as ensure_stream, partitions, partitions_of};
