//! Folders that hold a rule already. A folder's owner adds it here; when all are in, this table goes.

/// Doc comments.
pub const DOCS: [&str; 8] = [
    "tests/tidy/",
    "deploy/",
    "adapters/build/",
    "tests/venue-sim/",
    "tests/src/",
    "tests/suites/",
    "tests/bench/",
    "edge/src/",
];
/// Names of types.
pub const TYPE_NAMES: [&str; 8] = [
    "tests/tidy/",
    "deploy/",
    "adapters/build/",
    "tests/venue-sim/",
    "tests/src/",
    "tests/suites/",
    "tests/bench/",
    "edge/src/",
];
/// Order of modules, circles of folders and files.
pub const IMPORTS: [&str; 8] = [
    "tests/tidy/",
    "deploy/",
    "adapters/build/",
    "tests/venue-sim/",
    "tests/src/",
    "tests/suites/",
    "tests/bench/",
    "edge/src/",
];
