//! Faults and changes under load, each judged while it lasts and when it is over.

use std::time::{Duration, Instant};

use marketprism_tests::wait::until;
use serde_json::Value;

use super::brokers;
use super::counts::{WAITING_MAX, rows_of, sent_until, waiting};
use super::plan::{CUT, REGIONS};
use super::proof::{Proof, findings};
use super::world::{PATIENCE, World};
use crate::clock::now_ms;

const ACKNOWLEDGED: &str = "marketprism_edge_acknowledged_total";
/// Promise of the fleet's page.
const SILENT_WITHIN: Duration = Duration::from_secs(30);
/// For a region to have everything of its cut in hot.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(180);
/// Promise of the leases.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(12);
/// Without the server that led.
const ELECTED_WITHIN: Duration = Duration::from_secs(15);
/// Downtime of the killed broker.
const BROKER_AWAY: Duration = Duration::from_secs(20);
const STREAM: &str = "MARKET_DATA";

impl Proof {
    /// Nothing passes between a region and the centre, for two minutes; its venues go on.
    pub fn a_region_is_cut(&mut self) {
        let cut = self.plan.cut_region;
        let edge = REGIONS[cut].edge;
        self.say(&format!("{} is cut for {} s", REGIONS[cut].name, CUT.as_secs()));
        let began = Instant::now();
        let cut_ms = now_ms();
        self.world.regions[cut].wan.cut();
        self.reaches(&format!("only {edge} is named silent"), SILENT_WITHIN, |world| {
            let lives = lives(world)?;
            let expected: Vec<_> = REGIONS
                .iter()
                .map(|region| {
                    let life = if region.edge == edge { "silent" } else { "running" };
                    (region.edge.to_owned(), life.to_owned())
                })
                .collect();
            if lives.len() == 3 && expected.iter().all(|one| lives.contains(one)) {
                Ok(())
            } else {
                Err(format!("{lives:?}"))
            }
        });
        std::thread::sleep(CUT.saturating_sub(began.elapsed()));
        // Its audits are missing for as long as it is unreachable.
        let meanwhile =
            [format!("edge.no_recent_audit edge {edge}"), "ledger.unverifiable_windows ledger".to_owned()];
        self.names(&format!("edge.silent edge {edge}"), &meanwhile, "the report in the cut");
        for (index, region) in REGIONS.iter().enumerate().filter(|(index, _)| *index != cut) {
            self.collects(index, &format!("{} collects meanwhile", region.name));
        }
        let stored = self.world.number(&format!(
            "SELECT count() FROM marketprism_hot.trades WHERE edge = '{edge}' AND received_at > fromUnixTimestamp64Milli(toInt64({}), 'UTC')",
            cut_ms + 1_000
        ));
        self.check(
            stored == Ok(0),
            format!("nothing of the cut region reached hot in the cut: {stored:?} rows"),
        );
        self.catches_up(cut, cut_ms);
    }

    fn catches_up(&mut self, cut: usize, cut_ms: u64) {
        let (region, opened_ms) = (REGIONS[cut], now_ms());
        let left = waiting(&self.world, cut);
        self.say(&format!("{} is reachable again; {left} events wait in its edge", region.name));
        self.world.regions[cut].wan.open();
        let sent: u64 = sent_until(&self.world, cut, opened_ms);
        self.reaches(
            &format!("every trade that {} had in the cut is in hot", region.name),
            CAUGHT_UP_WITHIN,
            |world| {
                let rows = rows_of(world, cut, opened_ms)?;
                if rows >= sent { Ok(()) } else { Err(format!("{rows} of {sent}")) }
            },
        );
        self.reaches("nothing of it waits any more", CAUGHT_UP_WITHIN, |world| {
            let left = waiting(world, cut);
            if left < WAITING_MAX { Ok(()) } else { Err(format!("{left} events")) }
        });
        self.reaches("every edge is running", PATIENCE, |world| {
            let lives = lives(world)?;
            if lives.iter().all(|(_, life)| life == "running") { Ok(()) } else { Err(format!("{lives:?}")) }
        });
        let late = self.world.number(&format!(
            "SELECT count() FROM marketprism_hot.trades WHERE edge = '{}' AND received_at BETWEEN fromUnixTimestamp64Milli(toInt64({cut_ms}), 'UTC') AND fromUnixTimestamp64Milli(toInt64({opened_ms}), 'UTC')",
            region.edge
        ));
        self.say(&format!("       {late:?} rows of its trades are of the cut"));
        let (carried, lost) = self.world.regions[cut].wan.packets();
        self.say(&format!("       its way carried {carried} packets and lost {lost}"));
        self.is_quiet("after the cut");
    }

    /// The server that leads the stream of trades is killed, and comes back.
    pub fn a_broker_is_killed(&mut self) {
        let leader = leader(&self.world);
        let killed = self.world.servers.iter().position(|server| server.name() == leader).unwrap();
        let before: Vec<u64> = self.world.regions.iter().map(|region| region.metric(ACKNOWLEDGED)).collect();
        self.say(&format!("{leader}, which leads {STREAM}, is killed"));
        let began = Instant::now();
        self.world.servers[killed].kill();
        let at_kill: Vec<u64> = self.world.regions.iter().map(|region| region.metric(ACKNOWLEDGED)).collect();
        self.reaches("every edge publishes without it", ELECTED_WITHIN, |world| {
            let now: Vec<u64> = world.regions.iter().map(|region| region.metric(ACKNOWLEDGED)).collect();
            // More than was in flight.
            let goes_on = now.iter().zip(&at_kill).all(|(now, then)| *now > then + 50);
            if goes_on {
                Ok(())
            } else {
                Err(format!("acknowledged {before:?}, at the kill {at_kill:?}, now {now:?}"))
            }
        });
        std::thread::sleep(BROKER_AWAY.saturating_sub(began.elapsed()));
        self.names("broker.replicas_behind ", &[], "the report without a broker");
        self.say(&format!("{leader} is started again"));
        self.world.centre.run(async || {
            self.world.servers[killed].start();
            self.world.servers[killed].listens().await;
        });
        self.reaches("every replica is up to date", PATIENCE, |world| {
            let found = of_broker(world);
            if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
        });
        self.is_quiet("with the broker back");
    }

    /// Another build starts next to the running one, which is stopped then.
    pub fn central_is_replaced(&mut self) {
        self.say("another build of central starts beside the running one");
        let World { centre, central, next_central, .. } = &mut self.world;
        centre.run(async || next_central.restart().await);
        let held = |central: &marketprism_tests::central::Central| -> u64 {
            let metrics = centre.run(async || central.get("/metrics").await).unwrap_or_default();
            let held = metrics.lines().filter(|line| line.starts_with("marketprism_central_streams_held{"));
            held.filter(|line| line.ends_with(" 1")).count() as u64
        };
        let (streams, early) = (held(central), held(next_central));
        let began = Instant::now();
        centre.run(async || central.process().terminate(PATIENCE).await);
        let (stopped, stop_ms) = (began.elapsed(), now_ms());
        std::mem::swap(central, next_central);
        self.check(
            early == 0 && streams > 0,
            format!(
                "the running one held all {streams} streams, the new one {early}; it stopped in {:.1} s",
                stopped.as_secs_f64()
            ),
        );
        self.reaches("the new build holds every stream", TAKEOVER_WITHIN, |world| {
            let metrics = world.centre.run(async || world.central.get("/metrics").await)?;
            let held = metrics
                .lines()
                .filter(|line| line.starts_with("marketprism_central_streams_held{") && line.ends_with(" 1"));
            let held = held.count() as u64;
            if held == streams { Ok(()) } else { Err(format!("{held} of {streams}")) }
        });
        self.reaches("rows of the time behind the stop are in hot", TAKEOVER_WITHIN, |world| {
            let rows = world.number(&format!(
                "SELECT count() FROM marketprism_hot.trades WHERE received_at > fromUnixTimestamp64Milli(toInt64({stop_ms}), 'UTC')"
            ))?;
            if rows > 0 { Ok(()) } else { Err("none".to_owned()) }
        });
        std::thread::sleep(Duration::from_secs(10));
        let pause = self.world.number(&format!(
            "SELECT toUInt64(max(dateDiff('millisecond', before, created_at))) FROM (SELECT created_at, \
             lagInFrame(created_at, 1, created_at) OVER (ORDER BY created_at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before \
             FROM (SELECT DISTINCT created_at FROM marketprism_hot.trades WHERE created_at > fromUnixTimestamp64Milli(toInt64({}), 'UTC')))",
            stop_ms - 20_000
        ));
        let limit = u64::try_from(TAKEOVER_WITHIN.as_millis()).unwrap();
        self.check(
            pause.as_ref().is_ok_and(|pause| *pause <= limit),
            format!("longest pause between two inserts of trades around the takeover: {pause:?} ms (allowed {limit})"),
        );
        self.is_quiet("with the new build");
    }

    /// A signed version of the adapter that all regions run goes from one to the next.
    pub fn an_adapter_is_promoted(&mut self) {
        let file = self.world.versions.next_file();
        let (code, text, errors) = self.world.ask(&["adapters", "push", file.to_str().unwrap()]);
        self.check(code == Some(0), format!("the adapter is pushed: {}{errors}", text.trim()));
        let digest = digest(&self.world);
        self.say(&format!(
            "adapter {} is promoted from region to region",
            digest.get(..12).unwrap_or_default()
        ));
        let began = Instant::now();
        let (code, text, errors) = self.world.ask(&[
            "adapters",
            "promote",
            &digest,
            "--all",
            "--by-region",
            "--soak",
            "5s",
            "--within",
            "3m",
        ]);
        for line in text.lines().chain(errors.lines()) {
            self.say(&format!("       {line}"));
        }
        self.check(code == Some(0), format!("promoted in {:.1} s", began.elapsed().as_secs_f64()));
        self.reaches("every edge runs it", PATIENCE, |world| {
            let (_, text, _) = world.ask(&["adapters", "status", "--json"]);
            let rows: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
            let active = rows
                .iter()
                .filter(|row| row["state"] == "active" && row["active"]["digest"] == digest.as_str());
            if active.count() == REGIONS.len() { Ok(()) } else { Err(text) }
        });
        self.is_quiet("with the promoted adapter");
    }

    /// The report has findings of this kind, and at most some of the others.
    fn names(&mut self, kind: &str, meanwhile: &[String], what: &str) {
        let found = findings(&self.report());
        let has_it = found.iter().any(|finding| finding.starts_with(kind));
        let is_expected = |finding: &String| finding.starts_with(kind) || meanwhile.contains(finding);
        let text = format!("{what} names: {}", found.join("; "));
        self.check(has_it && found.iter().all(is_expected), text);
    }

    /// The report so far has nothing that needs attention.
    fn is_quiet(&mut self, when: &str) {
        let mut report = Value::Null;
        let quiet = self.time_until(PATIENCE, |_| {
            report = self.report();
            let found = findings(&report);
            if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
        });
        self.check(
            quiet.is_ok(),
            format!("the report {when}: {} {}", report["verdict"], quiet.err().unwrap_or_default()),
        );
    }

    /// Rows of a region's edge are not older than ten seconds.
    fn collects(&mut self, region: usize, what: &str) {
        let query = format!(
            "SELECT toUInt64(dateDiff('millisecond', max(received_at), now64(3, 'UTC'))) FROM marketprism_hot.trades WHERE edge = '{}'",
            REGIONS[region].edge
        );
        let age = self.world.number(&query);
        self.check(age.as_ref().is_ok_and(|age| *age < 10_000), format!("{what}: newest row {age:?} ms old"));
    }
}

/// Name and life of each edge.
fn lives(world: &World) -> Result<Vec<(String, String)>, String> {
    let (_, text, errors) = world.ask(&["edges", "--json"]);
    let page: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}{errors}"))?;
    let edges = page["edges"].as_array().ok_or(text)?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(edges.iter().map(|edge| (word(&edge["edge"]), word(&edge["state"]))).collect())
}

fn leader(world: &World) -> String {
    world.centre.run(async || {
        let client = brokers::connect(&world.tls, &world.servers).await.unwrap();
        until("the stream has a leader", PATIENCE, || async {
            let info = brokers::stream(&client, STREAM).await?;
            info.cluster.and_then(|cluster| cluster.leader).ok_or_else(|| "none".to_owned())
        })
        .await
    })
}

/// Findings about streams now.
fn of_broker(world: &World) -> Vec<String> {
    let (_, text, _) = world.ask(&["integrity", "--json", "--from", "1m"]);
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut found = findings(&report);
    if report.is_null() {
        return vec![text];
    }
    found.retain(|finding| finding.starts_with("broker."));
    found
}

/// Digest of the one stored adapter.
fn digest(world: &World) -> String {
    let (_, text, _) = world.ask(&["adapters", "list", "--json"]);
    let listed: Value = serde_json::from_str(&text).unwrap_or_default();
    listed[0]["digest"].as_str().unwrap_or_default().to_owned()
}
