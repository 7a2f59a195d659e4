//! What the fuzzers found stays found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use marketprism_fuzz::{TARGETS, Target, seeds};

/// Damaged inputs of each target.
const ROUNDS: usize = 4_000;

fn corpus(target: Target) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        std::fs::read_dir(target.corpus()).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A small generator with a seed, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 if at < bytes.len() => bytes[at] = b"\"\\{}[],:019.-e\x1e\0\xff"[self.below(17)],
                3 => bytes.insert(at, b"\"\\{}[],:019.-e\x1e\0\xff"[self.below(17)]),
                4 => {
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
                _ => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
    }
}

// Goal: no input of the corpus breaks an invariant, and no near one does. Method: every target on its corpus, on its seeds, and on both
// damaged by a fixed seed; a panic of the target fails the test and names its input.
#[test]
fn no_known_input_breaks_a_target() {
    for target in TARGETS.into_iter().flatten() {
        let mut inputs = corpus(*target);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        inputs.extend(seeds(*target));
        for input in &inputs {
            run(*target, input);
        }
        let mut random = Random(0x5eed);
        for _ in 0..ROUNDS {
            let mut input = inputs[random.below(inputs.len())].clone();
            let other = inputs[random.below(inputs.len())].clone();
            random.damage(&mut input, &other);
            run(*target, &input);
        }
        println!("{}: {} inputs, {ROUNDS} damaged", target.name, inputs.len());
    }
}

fn run(target: Target, input: &[u8]) {
    let broken = std::panic::catch_unwind(|| (target.run)(input)).is_err();
    assert!(!broken, "{}: {:?}", target.name, String::from_utf8_lossy(input));
}
