//! marketprism-adapter-build.
