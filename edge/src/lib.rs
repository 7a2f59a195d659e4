//! marketprism-edge.
