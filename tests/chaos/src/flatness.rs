//! Memory and handles of the processes, seen while each calm lasts: none may grow from the first to the second half of a process's life.

use std::collections::BTreeMap;
use std::mem;

/// Memory that caches, the allocator and a journal's index may still take in the second half of a life.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
/// Connections and files that come and go.
const GROWTH_HANDLES_MAX: u64 = 8;
const GROWTH_THREADS_MAX: u64 = 4;
/// Calms that a process must have lived through to be judged.
const SAMPLES_MIN: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub name: &'static str,
    pub pid: u32,
    /// Its first compilation of another adapter raises a process's memory once: the times before and after are judged apart.
    pub has_changed_adapter: bool,
    pub resident_bytes: u64,
    /// By kind.
    pub open_files: BTreeMap<String, usize>,
    pub threads: usize,
}

impl Usage {
    fn handles(&self) -> usize {
        self.open_files.values().sum()
    }

    fn figures(&self) -> [u64; 3] {
        [self.resident_bytes, self.handles() as u64, self.threads as u64]
    }

    /// Kinds of handles of which there are more than before.
    fn more_open(&self, before: &Self) -> String {
        let more = self.open_files.iter().filter_map(|(kind, count)| {
            let before = before.open_files.get(kind).copied().unwrap_or_default();
            (*count > before).then(|| format!("{kind} {before} to {count}"))
        });
        more.collect::<Vec<_>>().join(", ")
    }
}

/// A process by name and number, before or after its change of an adapter.
type ProcessLife = (&'static str, u32, bool);

#[derive(Debug, Default)]
pub struct Flatness {
    lives: BTreeMap<ProcessLife, Vec<Usage>>,
    /// Seen with the least memory since the calm began.
    calm: BTreeMap<ProcessLife, Usage>,
}

impl Flatness {
    /// Work on what an outage left goes on into a calm, on a busy machine for most of it: what a process keeps is the least that it has.
    pub fn see(&mut self, usage: Vec<Usage>) {
        for usage in usage {
            let life = (usage.name, usage.pid, usage.has_changed_adapter);
            let least = self.calm.entry(life).or_insert_with(|| usage.clone());
            if usage.resident_bytes < least.resident_bytes {
                *least = usage;
            }
        }
    }

    pub fn end_calm(&mut self) {
        for (life, usage) in mem::take(&mut self.calm) {
            self.lives.entry(life).or_default().push(usage);
        }
    }

    /// Prints the longest life of each part; returns what grew.
    pub fn verdict(&self) -> Vec<String> {
        let mut grown = Vec::new();
        let mut longest: BTreeMap<&str, &Vec<Usage>> = BTreeMap::new();
        for ((name, ..), life) in &self.lives {
            grown.extend(growth(name, life));
            let seen = longest.entry(name).or_insert(life);
            if life.len() > seen.len() {
                *seen = life;
            }
        }
        for (name, life) in longest {
            let each = |figure: fn(&Usage) -> u64| {
                life.iter().map(|usage| figure(usage).to_string()).collect::<Vec<_>>().join(" ")
            };
            println!(
                "{name:<12} longest life: {} calms, {} MiB, {} handles, {} threads{}",
                life.len(),
                each(|usage| usage.resident_bytes >> 20),
                each(|usage| usage.handles() as u64),
                each(|usage| usage.threads as u64),
                if life.len() < SAMPLES_MIN { " (too short to judge)" } else { "" }
            );
        }
        grown
    }
}

fn growth(name: &str, life: &[Usage]) -> Vec<String> {
    if life.len() < SAMPLES_MIN {
        return Vec::new();
    }
    let (first, second) = life.split_at(life.len() / 2);
    let median = |half: &[Usage], figure: usize| {
        let mut values: Vec<u64> = half.iter().map(|usage| usage.figures()[figure]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let limits = [
        ("bytes of resident memory", GROWTH_BYTES_MAX),
        ("open files and sockets", GROWTH_HANDLES_MAX),
        ("threads", GROWTH_THREADS_MAX),
    ];
    let grown = |(figure, (what, limit)): (usize, (&str, u64))| {
        let (before, after) = (median(first, figure), median(second, figure));
        let opened = match life {
            [first, .., last] if figure == 1 => format!(": {}", last.more_open(first)),
            _ => String::new(),
        };
        (after > before + limit)
            .then(|| format!("{name} grows: {before}, then {after} {what} (at most {limit} more){opened}"))
    };
    limits.into_iter().enumerate().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_grows_is_named_and_one_that_lived_shortly_is_not_judged() {
        let life = |pid, count: u64, more: u64| {
            let usage = |number: u64| Usage {
                name: "edge-x",
                pid,
                has_changed_adapter: false,
                resident_bytes: (50 + number * more) << 20,
                open_files: BTreeMap::from([("tcp:4222".to_owned(), 20)]),
                threads: 9,
            };
            (0..count).map(usage).collect::<Vec<_>>()
        };
        let judged = |life: Vec<Usage>| {
            let (mut flatness, mut at_work) = (Flatness::default(), 0);
            for usage in life {
                let busy = usage.resident_bytes + (at_work << 20);
                flatness.see(vec![Usage { resident_bytes: busy, ..usage.clone() }]);
                flatness.see(vec![usage]);
                flatness.end_calm();
                at_work += 40;
            }
            flatness.verdict()
        };
        assert_eq!(judged(life(1, 8, 0)).len(), 0);
        assert_eq!(judged(life(1, 3, 90)).len(), 0);
        let grown = judged(life(1, 8, 20));
        assert!(grown.len() == 1 && grown[0].contains("edge-x grows"), "{grown:?}");
        let mut peak = life(1, 8, 0);
        peak[5].resident_bytes += 200 << 20;
        assert_eq!(judged(peak).len(), 0);
        let raised_once = life(1, 4, 0).into_iter().chain(life(1, 4, 0).into_iter().map(|usage| Usage {
            has_changed_adapter: true,
            resident_bytes: usage.resident_bytes + (50 << 20),
            ..usage
        }));
        assert_eq!(judged(raised_once.collect()).len(), 0);
    }
}
