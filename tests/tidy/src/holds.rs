//! Folders that hold a rule already. A folder's owner adds it here; when all are in, this table goes.

/// Doc comments.
pub const DOCS: [&str; 3] = ["tests/tidy/", "deploy/", "adapters/build/"];
/// Names of types.
pub const TYPE_NAMES: [&str; 3] = ["tests/tidy/", "deploy/", "adapters/build/"];
/// Order of modules, circles of folders and files.
pub const IMPORTS: [&str; 3] = ["tests/tidy/", "deploy/", "adapters/build/"];
