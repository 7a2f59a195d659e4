//! `marketprism-chaos alerts`: a real Prometheus scrapes real edges and a central, and every alert that can be provoked here fires in its drill and
//! clears behind it. Times of the rules are divided by twenty, so that a run takes minutes.

mod drills;
mod prometheus;
mod rules;
mod stack;

use std::path::Path;
use std::time::{Duration, Instant};

use self::drills::{DRILLS, Drill};
use self::prometheus::Prometheus;
use self::stack::DrillStack;

/// For an alert to fire in its drill; `for:` of an hour is three minutes here.
const FIRES_WITHIN: Duration = Duration::from_secs(240);
/// For all alerts to clear behind the last drill: ranges, and a cold that catches up.
const CLEARS_WITHIN: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(500);

/// Alerts without a drill, and the reason. Their rules have a case in `deploy/prometheus/alerts.test.yml` all the same.
pub const NOT_PROVOKED: [(&str, &str); 12] = [
    ("FeedBehind", "needs a venue that is faster than this machine's pipeline"),
    ("TradesMissing", "needs a venue that has forgotten the trades, and then never clears"),
    ("AuditsLost", "needs an outage of days"),
    ("AdapterFaults", "needs a faulty adapter, which the conformance checks refuse"),
    ("EdgeHanging", "needs a fault of ours"),
    ("ClockOffset", "needs a second clock"),
    ("EdgeClockOffset", "needs a second clock"),
    ("RawFailing", "needs a full disk of raw frames"),
    ("RankingUnreadable", "needs a venue that has lost its ranking"),
    ("WindowsUnverifiable", "needs audits that are refused for long"),
    ("CorrectionsPending", "needs a correction that fails"),
    ("DiskFilling", "needs node_exporter and a full disk"),
];

/// `chosen`: alerts whose drills run; none given: all.
pub async fn run(folder: &Path, chosen: &[String]) -> Vec<String> {
    let is_chosen =
        |drill: &&Drill| chosen.is_empty() || chosen.iter().any(|name| drill.alerts.contains(&name.as_str()));
    let drills: Vec<&Drill> = DRILLS.iter().filter(is_chosen).collect();
    if drills.is_empty() {
        return vec![format!("no drill has an alert of {chosen:?}")];
    }
    let mut stack = DrillStack::start(folder).await;
    let edges = stack.edge_ports();
    let Some(mut prometheus) = Prometheus::start(folder, &edges, stack.central.port()).await else {
        return vec!["prometheus is missing: install Debian's package prometheus, or name it with MARKETPRISM_PROMETHEUS".to_owned()];
    };
    println!("times of the rules are divided by {}", rules::FACTOR);
    let mut failures = Vec::new();
    match quiet(&mut prometheus, edges.len() as u64 + 1).await {
        Ok(took) => println!("quiet after {:.0} s: all targets are up, no alert fires", took.as_secs_f64()),
        Err(last) => failures.push(format!("not quiet before the drills: {last}")),
    }
    prometheus.seen.clear();
    for drill in drills {
        failures.extend(fire(drill, &mut stack, &mut prometheus).await);
    }
    let began = Instant::now();
    match quiet(&mut prometheus, edges.len() as u64 + 1).await {
        Ok(_) => println!("every alert is clear {:.0} s after the last drill", began.elapsed().as_secs_f64()),
        Err(last) => failures.push(format!("alerts that do not clear: {last}")),
    }
    for (name, reason) in NOT_PROVOKED {
        println!("not provoked  {name:<20} {reason}");
        if prometheus.seen.contains(name) {
            println!("              but it fired");
        }
    }
    drop(prometheus);
    stack.stop().await;
    failures
}

/// Provokes a drill's alerts, waits for all of them, and ends it.
async fn fire(drill: &Drill, stack: &mut DrillStack, prometheus: &mut Prometheus) -> Vec<String> {
    let began = Instant::now();
    println!("drill         {}", drill.what);
    stack.begin(drill.fault).await;
    let mut waited: Vec<&str> = drill.alerts.to_vec();
    let mut last = Ok(Vec::new());
    while !waited.is_empty() && began.elapsed() < FIRES_WITHIN {
        stack.go_on(drill.fault).await;
        last = prometheus.firing().await;
        let firing = last.clone().unwrap_or_default();
        waited.retain(|alert| {
            let fires = firing.iter().any(|name| name == alert);
            if fires {
                println!("  fires       {alert:<20} after {:.1} s", began.elapsed().as_secs_f64());
            }
            !fires
        });
        tokio::time::sleep(LOOK).await;
    }
    stack.end(drill.fault).await;
    let missing = waited.iter().map(|alert| {
        format!("{alert} does not fire within {FIRES_WITHIN:?} of: {}; firing: {last:?}", drill.what)
    });
    let failures: Vec<String> = missing.collect();
    // Behind its end an alert clears while the next drill runs; what still fires then is reported at the end.
    let ended = Instant::now();
    while ended.elapsed() < drill.clear_wait {
        match prometheus.firing().await {
            Ok(firing) if drill.alerts.iter().all(|alert| !firing.iter().any(|name| name == alert)) => {
                println!("  clear       after {:.1} s", ended.elapsed().as_secs_f64());
                return failures;
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    failures
        .into_iter()
        .chain([format!("{:?} do not clear within {:?}", drill.alerts, drill.clear_wait)])
        .collect()
}

/// Waits until all targets answer and nothing fires.
async fn quiet(prometheus: &mut Prometheus, targets: u64) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let (up, firing) = (prometheus.targets_up().await, prometheus.firing().await);
        match (&up, &firing) {
            (Ok(up), Ok(firing)) if *up == targets && firing.is_empty() => return Ok(began.elapsed()),
            _ if began.elapsed() > CLEARS_WITHIN => {
                return Err(format!("{up:?} of {targets} targets up, firing {firing:?}"));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
