//! Replay of the corpus: inputs that broke a target, and near ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use marketprism_adapter_sdk::testkit::{Random, damage};
use marketprism_fuzz::{SEPARATOR, TARGETS, Target, seeds};

const ROUNDS: usize = 4_000;

fn corpus(target: Target) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        std::fs::read_dir(target.corpus()).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Damages an input up to three times, or splices it with another one.
fn damaged(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..=random.below(3) {
        match random.below(8) {
            0 => {
                input.truncate(random.below(input.len() + 1));
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            1 => input.insert(random.below(input.len() + 1), SEPARATOR),
            _ => damage(&mut input, random),
        }
    }
    input
}

// A panic of a target fails the test and names its input.
#[test]
fn no_known_input_breaks_a_target() {
    for target in TARGETS.into_iter().flatten() {
        let mut inputs = corpus(*target);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        inputs.extend(seeds(*target));
        for input in &inputs {
            run(*target, input);
        }
        let mut random = Random::new(0x5eed);
        for _ in 0..ROUNDS {
            let input = &inputs[random.below(inputs.len())];
            let other = &inputs[random.below(inputs.len())];
            run(*target, &damaged(input, other, &mut random));
        }
        println!("{}: {} inputs, {ROUNDS} damaged", target.name, inputs.len());
    }
}

fn run(target: Target, input: &[u8]) {
    let broken = std::panic::catch_unwind(|| (target.run)(input)).is_err();
    assert!(!broken, "{}: {:?}", target.name, String::from_utf8_lossy(input));
}
