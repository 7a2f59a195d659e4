//! Bindings of contract version 1, generated from the interface definition.
#![allow(missing_docs, unsafe_code, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit/marketprism-adapter",
    world: "venue-adapter",
    additional_derives: [PartialEq],
});
