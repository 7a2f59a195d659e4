//! Regions, their ways to the centre, and the times of a run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Length of a region's cut.
pub const CUT: Duration = Duration::from_secs(120);
/// Time for the steps behind the cut, catching up included.
const STEPS: Duration = Duration::from_secs(120);
pub const MINUTES_MIN: u64 = 5;

/// A region of `deploy/examples`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionPlan {
    pub name: &'static str,
    pub edge: &'static str,
    /// Of a packet between region and centre, one way.
    pub delay: Duration,
    /// Share of packets that are lost on that way.
    pub loss: f64,
}

pub const REGIONS: [RegionPlan; 3] = [
    RegionPlan { name: "tokyo", edge: "tokyo-1", delay: Duration::from_millis(100), loss: 0.01 },
    RegionPlan { name: "frankfurt", edge: "frankfurt-1", delay: Duration::from_millis(40), loss: 0.002 },
    RegionPlan { name: "virginia", edge: "virginia-1", delay: Duration::from_millis(10), loss: 0.001 },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// Index of the region that is cut.
    pub cut_region: usize,
    /// Time without a fault before and behind the steps.
    pub calm: Duration,
}

impl Plan {
    pub fn new(seed: u64, minutes: u64) -> Self {
        let load = Duration::from_secs(60 * minutes.max(MINUTES_MIN));
        let cut_region = StdRng::seed_from_u64(seed).random_range(0..REGIONS.len());
        Self { seed, cut_region, calm: (load - CUT - STEPS) / 2 }
    }
}

/// Addresses of a region's way to the centre: the centre's end, the region's end.
pub fn wan_addresses(region: usize) -> [String; 2] {
    ends(83, region)
}

/// Addresses of a region's way to the venues: the venues' end, the region's end.
pub fn venue_addresses(region: usize) -> [String; 2] {
    ends(84, region)
}

fn ends(net: u8, region: usize) -> [String; 2] {
    [1, 2].map(|end| format!("10.{net}.{}.{end}", region + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use marketprism_tests::parts;

    use super::*;

    #[test]
    fn a_plan_has_calm_times_around_its_steps_and_its_seed_chooses_the_region_that_is_cut() {
        let chosen: BTreeSet<usize> = (0..50).map(|seed| Plan::new(seed, 10).cut_region).collect();
        assert_eq!(chosen, (0..REGIONS.len()).collect());
        assert_eq!(Plan::new(7, 10), Plan::new(7, 10));
        for (minutes, calm) in [(0, 30), (MINUTES_MIN, 30), (10, 180)] {
            assert_eq!(Plan::new(7, minutes).calm, Duration::from_secs(calm), "{minutes} minutes");
        }
    }

    #[test]
    fn the_regions_are_those_of_the_examples_and_have_addresses_of_their_own() {
        let mut addresses = BTreeSet::new();
        for (index, region) in REGIONS.iter().enumerate() {
            let example = parts::text(&format!("deploy/examples/edge-{}.toml", region.name));
            for line in [format!("name = {:?}", region.edge), format!("region = {:?}", region.name)] {
                assert!(example.contains(&line), "{line}");
            }
            addresses.extend(wan_addresses(index).into_iter().chain(venue_addresses(index)));
        }
        assert_eq!(addresses.len(), 4 * REGIONS.len());
    }
}
