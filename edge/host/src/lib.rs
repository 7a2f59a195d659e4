//! marketprism-adapter-host.
