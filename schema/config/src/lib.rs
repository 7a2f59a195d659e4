//! marketprism-config.
