//! marketprism-bench.
