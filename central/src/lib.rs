//! marketprism-central.
