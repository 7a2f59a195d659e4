//! marketprism-tests.
