//! The contract as Rust types, generated from `wit`: the only place of the SDK with
//! unsafe code.

#![allow(unsafe_code, missing_docs)]
#![allow(clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

wit_bindgen::generate!({
    path: "wit",
    world: "venue-adapter",
    pub_export_macro: true,
    default_bindings_module: "marketprism_adapter_sdk::bindings",
    additional_derives: [PartialEq],
});
