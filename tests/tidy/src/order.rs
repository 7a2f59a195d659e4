//! The order of the modules of each crate: a module may use those after it, never one before it.

/// Modules directly under `src`, from the one that uses all others to the one that uses none.
/// `main` and `lib` come before all of them.
pub const ORDER: [(&str, &str); 10] = [
    (
        "edge",
        "cli recorder renormalize replay run selfcare instance http swap reload feed selftest gaps raw records books publisher journal queue audit broker clocks \
         config telemetry limits",
    ),
    (
        "central",
        "cli ab_latency validation run http diagnose books report repair ledger replicator ingest context init adapters watermark \
         coverage fleet running_inserts lease copy_marks dropped_rows recorded_losses failing_views seq_range sql server_clock storage shared_answer row broker metrics status time config role limits",
    ),
    (
        "edge/socket",
        "feed poll venue_clock request_runner connection status context renewals rest dial budgets tls options \
         proxy inputs limits event clock_options error counters",
    ),
    (
        "edge/host",
        "fixtures supervisor comparison quarantine reference_answers mapping circuit_breaker adapter version1 sandbox exports \
         signature runtime compile_cache validate frames error logging index contract v1 limits host_limit stats",
    ),
    ("edge/book", "sync book outcome pending pacing contents sequence ladder settings update side"),
    (
        "schema",
        "broker_accounts broker_users broker_domain core_mirror edge_heartbeat edge_lease adapter_promotion recording wire audit repair confirmed \
         rebuilt_book \
         validation event_key event event_id migration stream table selftest stream_id decimal latency component texts names",
    ),
    ("adapters/build", "build clang component toolchain workspace"),
    ("deploy/chdb-server", "run sandbox http access sql engine config memory limits"),
    ("deploy/local", "cli stack install process venues client settings paths console limits"),
    (
        "tests/venue-sim",
        "sim server control simulation view exchange config recording delivery fault venue ledger market \
         clock decimal",
    ),
];
