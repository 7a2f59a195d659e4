//! See the target of this name in `marketprism-fuzz`.
#![no_main]

use std::sync::LazyLock;

use marketprism_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| Target::named("deribit"));

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
