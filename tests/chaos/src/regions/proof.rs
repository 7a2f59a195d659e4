//! The course of a run: its clock, its promises with their figures, and the report so far.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::counts;
use super::plan::{Plan, REGIONS};
use super::world::{PATIENCE, World};
use crate::clock::now_ms;
use crate::report::Reporter;

pub struct Proof {
    pub world: World,
    pub plan: Plan,
    pub began: Instant,
    pub begin_ms: u64,
    pub failures: Vec<String>,
}

impl Proof {
    pub fn begin(world: World, plan: Plan) -> Self {
        let begin_ms = now_ms();
        world.sim.resume();
        Self { world, plan, began: Instant::now(), begin_ms, failures: Vec::new() }
    }

    pub fn say(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// A promise with its figures.
    pub fn check(&mut self, holds: bool, text: String) {
        self.say(&format!("{} {text}", if holds { "ok    " } else { "FAILED" }));
        if !holds {
            self.failures.push(text);
        }
    }

    pub fn calm(&mut self) {
        let calm = self.plan.calm;
        self.say(&format!("load without a fault for {} s", calm.as_secs()));
        let carried =
            |world: &World| -> Vec<u64> { world.regions.iter().map(|region| region.wan.bytes()).collect() };
        let before = carried(&self.world);
        std::thread::sleep(calm);
        let carried = carried(&self.world)
            .into_iter()
            .zip(before)
            .map(|(now, then)| (now - then) / calm.as_secs() / 1_000);
        let text: Vec<String> = REGIONS
            .iter()
            .zip(carried)
            .map(|(region, rate)| format!("{} {rate} kB/s", region.name))
            .collect();
        self.say(&format!("       {}", text.join(", ")));
        self.reaches("no region falls behind", PATIENCE, |world| {
            let waiting: Vec<u64> = (0..REGIONS.len()).map(|region| counts::waiting(world, region)).collect();
            if waiting.iter().all(|waiting| *waiting < counts::WAITING_MAX) {
                Ok(())
            } else {
                Err(format!("{waiting:?} events wait"))
            }
        });
    }

    /// Time until the condition holds; the limit and the last state seen if it does not.
    pub fn time_until(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&World) -> Result<(), String>,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            match condition(&self.world) {
                Ok(()) => return Ok(began.elapsed()),
                Err(last) if began.elapsed() > limit => return Err(format!("not within {limit:?}: {last}")),
                Err(_) => std::thread::sleep(asked.elapsed().max(Duration::from_millis(50))),
            }
        }
    }

    /// As `time_until`, judged and printed.
    pub fn reaches(
        &mut self,
        what: &str,
        limit: Duration,
        condition: impl FnMut(&World) -> Result<(), String>,
    ) {
        match self.time_until(limit, condition) {
            Ok(took) => self.check(true, format!("{what}: {:.1} s (allowed {limit:?})", took.as_secs_f64())),
            Err(last) => self.check(false, format!("{what}: {last}")),
        }
    }

    /// The report from the begin to now, once it can be had.
    pub fn report(&self) -> Value {
        let World { centre, central, hot, .. } = &self.world;
        let reporter = Reporter { central, hot };
        centre
            .run(async || reporter.once(self.begin_ms, now_ms() + 1_000).await)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Findings that need attention or change the verdict: code and subject.
pub fn findings(report: &Value) -> Vec<String> {
    let all = report["findings"].as_array().map_or(&[][..], Vec::as_slice);
    let severe = all.iter().filter(|finding| finding["level"] != "info");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut named: Vec<String> =
        severe.map(|finding| format!("{} {}", text(&finding["code"]), text(&finding["subject"]))).collect();
    named.sort();
    named.dedup();
    named
}
