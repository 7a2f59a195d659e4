//! Allowed imports and exports of a component.

use marketprism_adapter_build::{encode, inspect};
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// An empty component of this world; its interfaces come from the adapter contract.
fn component(world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let contract = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/marketprism-adapter");
    resolve.push_dir(contract).unwrap();
    let package = resolve.push_str("test.wit", &format!("package test:test;\n{world}")).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    encode(&module).unwrap()
}

fn refused(world: &str) -> String {
    format!("{:#}", inspect(&component(world)).unwrap_err())
}

#[test]
fn only_the_log_may_be_imported() {
    let adapter = "import marketprism:adapter/log@1.0.0; export marketprism:adapter/adapter@1.0.0;";
    inspect(&component(&format!("world ours {{ {adapter} }}"))).unwrap();
    let clock = "interface clock { now: func() -> u64; }";
    let message = refused(&format!("{clock} world greedy {{ import clock; {adapter} }}"));
    assert!(message.contains("test:test/clock"), "{message}");
    let message = refused(&format!("world greedy {{ import random: func() -> u64; {adapter} }}"));
    assert!(message.contains("random"), "{message}");
}

#[test]
fn only_the_adapter_may_be_exported() {
    assert!(refused("world empty { import marketprism:adapter/log@1.0.0; }").contains("exports []"));
    let more = "export marketprism:adapter/adapter@1.0.0; export secret: func();";
    assert!(refused(&format!("world more {{ {more} }}")).contains("secret"));
    assert!(inspect(b"\0asm\x01\0\0\0").is_err());
    assert!(inspect(b"no wasm").is_err());
    // A core module that imports from a host: (import "env" "now" (func)).
    let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0b\x01\x03env\x03now\0\0";
    let message = format!("{:#}", encode(module).unwrap_err());
    assert!(message.contains("env"), "{message}");
}
