//! Contracts between edge and central: events and their wire form, event ids, subjects, streams, tables, recordings.
//!
//! Nothing in this crate does input or output.

#![warn(missing_docs)]

mod adapter_promotion;
mod audit;
mod broker_accounts;
mod broker_domain;
mod broker_users;
mod component;
mod confirmed;
mod core_mirror;
mod decimal;
mod edge_heartbeat;
mod edge_lease;
mod event;
mod event_id;
mod event_key;
mod latency;
mod migration;
mod names;
mod rebuilt_book;
mod recording;
mod repair;
mod selftest;
mod stream;
mod stream_id;
mod table;
mod texts;
mod validation;
mod wire;

pub use adapter_promotion::{
    ADAPTER_OBJECTS_BUCKET, ADAPTERS_WANTED_SUBJECT, AdapterVersion, FollowState, FollowedAdapter, StepBack,
    WANTED_ADAPTERS_BUCKET, WantedAdapter, WantedVersion, adapter_chunk_request_subject,
    adapter_chunk_subject, adapter_info_request_subject, adapter_object_name, wanted_adapter_request_subject,
};
pub use audit::{
    AUDIT_BYTES_MAX, AUDIT_PART_BYTES, AUDIT_VERSION, Audit, AuditError, AuditPayload, CLOCK_OFFSET_MAX,
    CLOCKS_MAX, CORRECTION_HEADER, CORRECTION_VERSION, Capability, ChangeKind, ChangeOutcome, ClockReading,
    ClockStep, Completeness, Correction, CorrectionAdapter, CorrectionKind, CorrectionMark, DOWNTIME_VERSION,
    DUPLICATES_MAX, Downtime, DowntimeReason, EDGE_CHANGES_VERSION, EdgeChange, EdgeChanges, EdgeHealth,
    EdgeHop, FINGERPRINT_SQL, FeedAudit, Fingerprint, GAPS_MAX, Gap, GapCause, GapKind, HopLatency,
    INSTRUMENTS_VERSION, InstrumentListing, InstrumentTerms, LATENCIES_MAX, Numbering, SilentStreams,
    StreamAudit, TypeCorrection, UNSURE_MAX, audit_message_id, audit_subject, correction_subject,
    decode_audit, decode_audit_payload, encode_audit,
};
pub use broker_accounts::{BROKER_ACCOUNT, BrokerRegion, hub_accounts, leaf_accounts};
pub use broker_domain::domain_subject;
pub use broker_users::{BrokerUser, CENTRAL_CONNECTION, CENTRAL_USER, broker_authorization, edge_connection};
pub use component::{
    AdapterLabel, COMPONENT_BYTES_MAX, GOLDEN_SECTION, LABEL_SECTION, LabelError, SIGNATURE_SECTION,
    SignatureError, VERIFYING_KEY_BYTES, VerifyingKey, component_digest, custom_section, signed_part,
    verify_signature, with_custom_section,
};
pub use confirmed::{CONFIRMED_BUCKET, Watermark, confirmed_request_subject, stream_info_subject};
pub use core_mirror::{CORE_MIRROR_PREFIX, SUBJECT_FILTER_ALLOWED, SubjectFilter, core_mirror_subject};
pub use decimal::{Decimal, DecimalError, SCALE_MAX};
pub use edge_heartbeat::{
    AdapterState, AdapterSwap, ClockHeartbeat, EDGE_HEARTBEAT_BYTES_MAX, EDGE_HEARTBEAT_VERSION,
    EDGE_STATUS_SUBJECT, EdgeDisk, EdgeHeartbeat, EdgeHeartbeatError, EdgeRunState, FeedHeartbeat,
    FeedRunState, HEARTBEAT_SWAPS_MAX, JournalHeartbeat, RunningAdapter, edge_heartbeat_key,
    edge_heartbeat_subject, edge_of_heartbeat,
};
pub use edge_lease::{EDGE_LEASES_BUCKET, EdgeLease, edge_lease_request_subject, edge_lease_subject};
pub use event::{
    Body, BookLevels, DELTA_LEVELS_MAX, Event, FundingRate, Header, Liquidation, LongShortRatio,
    OpenInterest, OrderBook, OrderBookDelta, Quote, Trade, VolatilityIndex,
};
pub use event_id::EventId;
pub use latency::{LATENCY_BOUNDS_US, LATENCY_BUCKETS, latency_quantile_us};
pub use migration::{DatabaseKind, Layout, Migration, Statement};
pub use names::{
    DataSource, DataType, DataTypeMap, MarketType, Side, UnknownName, stale_after, with_unknown_names,
};
pub use rebuilt_book::{DeltaHole, RebuiltBook};
pub use recording::{Line, LineError, RecordingKind};
pub use repair::{
    REPAIR_BYTES_MAX, REPAIR_VERSION, RepairAnswer, RepairError, RepairRequest, RepairState, repair_subject,
};
pub use selftest::{
    SELFTEST_CATCH_UP, SELFTEST_EXCHANGE, SELFTEST_MARKET, SELFTEST_RATES, selftest_stream, selftest_symbol,
};
pub use stream::{Carries, STREAMS, StreamSettings, stream_of};
pub use stream_id::{StreamId, StreamIdError};
pub use table::{COLD, DEAD_LETTERS, HOT, Table};
pub use validation::{
    EDGE_NAME_ALLOWED, EXCHANGE_NAME_ALLOWED, EventChecks, InvalidKind, InvalidValue, RECEIVED_AHEAD_MAX,
    RECEIVED_BEHIND_MAX, is_edge_name, is_exchange_name, validate_content, validate_event,
};
pub use wire::{
    DecodeError, PackedEvents, PayloadEvents, WireForm, decode_json, decode_protobuf, encode_json,
    encode_protobuf, split_packed_header,
};
