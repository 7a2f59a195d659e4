//! marketprism-tidy.
