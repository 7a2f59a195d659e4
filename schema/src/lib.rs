//! marketprism-schema.
