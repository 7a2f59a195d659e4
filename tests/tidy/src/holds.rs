//! Folders that hold a rule already. A folder's owner adds it here; when all are in, this table goes.

/// Doc comments.
pub const DOCS: [&str; 10] = [
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
];
/// Names of types.
pub const TYPE_NAMES: [&str; 10] = [
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
];
/// Order of modules, circles of folders and files.
pub const IMPORTS: [&str; 10] = [
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
];
