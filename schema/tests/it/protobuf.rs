//! The messages in `src/wire/protobuf/message.rs` are those of `marketprism.proto`.

use std::path::Path;

use prost_build::Config;

const MODULE: &str = "src/wire/protobuf/message.rs";

/// Checked in, so that a build needs no generator; rewritten by this test when the definition was changed.
#[test]
fn the_messages_are_generated_from_the_definition() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let definition = protox::compile(["marketprism.proto"], [root]).unwrap();
    let modules = definition
        .file
        .into_iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file));
    let generated = Config::new().disable_comments(["."]).generate(modules.collect()).unwrap();
    let generated = generated.into_values().next().unwrap();
    let path = root.join(MODULE);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    // The formatter may lay the same code out otherwise.
    let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != ',').collect::<String>();
    if plain(&found) != plain(&generated) {
        std::fs::write(&path, generated).unwrap();
        panic!("{MODULE} was not that of marketprism.proto; it is rewritten: format and commit it");
    }
}
