//! The order of the modules of each crate: a module may use those after it, never one before it.

/// Modules directly under `src`, from the one that uses all others to the one that uses none.
/// `main` and `lib` come before all of them.
pub const ORDER: [(&str, &str); 10] = [
    (
        "edge",
        "cli recorder replay run http feed gaps records books publisher queue audit broker config \
         telemetry limits",
    ),
    (
        "central",
        "cli run http diagnose report repair ledger replicator ingest context init watermark \
         coverage lease sql storage row broker metrics status time config role clock limits",
    ),
    (
        "edge/socket",
        "feed resync connection poll requester context references renewals rest budgets counters \
         status backoff plan tls clock options input error limits",
    ),
    (
        "edge/host",
        "supervised adapter rounds references sandbox runtime fixtures quarantine merge circuit \
         validate frames error logging limiter stats contract v1 version rate limits",
    ),
    (
        "edge/book",
        "sync book stats outcome view refresh pending base sequence backoff gate checksum ladder \
         settings update side",
    ),
    (
        "schema",
        "recording wire audit repair event event_id migration stream table freshness subject decimal \
         names",
    ),
    ("adapters/build", "build clang component toolchain workspace"),
    ("deploy/chdb-server", "run http sql engine config limits"),
    ("deploy/local", "cli stack install process venues client settings paths console limits"),
    (
        "tests/venue-sim",
        "sim server control engine commands simulation view exchange config recording delivery fault \
         frame venue ledger market clock decimal",
    ),
];
