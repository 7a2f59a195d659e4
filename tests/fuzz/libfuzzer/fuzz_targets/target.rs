//! One source for all binaries: the target of `marketprism-fuzz` that has the binary's name.
#![no_main]

use std::sync::LazyLock;

use marketprism_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| Target::named(env!("CARGO_BIN_NAME")));

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
