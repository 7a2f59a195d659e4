//! marketprism-adapter-sdk.
