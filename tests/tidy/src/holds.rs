//! Folders that hold a rule already. A folder's owner adds it here; when all are in, this table goes.

/// Doc comments.
pub const DOCS: [&str; 13] = [
    "adapters/",
    "deploy/",
    "edge/src/",
    "tests/bench/",
    "tests/broken-adapters/",
    "tests/fuzz/",
    "tests/src/",
    "tests/suites/",
    "tests/tidy/",
    "tests/venue-sim/",
    "edge/book/",
    "edge/host/",
    "edge/socket/",
];
/// Names of types.
pub const TYPE_NAMES: [&str; 13] = [
    "adapters/",
    "deploy/",
    "edge/src/",
    "tests/bench/",
    "tests/broken-adapters/",
    "tests/fuzz/",
    "tests/src/",
    "tests/suites/",
    "tests/tidy/",
    "tests/venue-sim/",
    "edge/book/",
    "edge/host/",
    "edge/socket/",
];
/// Order of modules, circles of folders and files.
pub const IMPORTS: [&str; 13] = [
    "adapters/",
    "deploy/",
    "edge/src/",
    "tests/bench/",
    "tests/broken-adapters/",
    "tests/fuzz/",
    "tests/src/",
    "tests/suites/",
    "tests/tidy/",
    "tests/venue-sim/",
    "edge/book/",
    "edge/host/",
    "edge/socket/",
];
