//! marketprism-local.
