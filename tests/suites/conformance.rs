//! Promise: `marketprism-edge adapter test` passes for every simulated venue, which answers each stream, poll and resync of the plan.

use std::process::Command;

use futures_util::future::join_all;
use marketprism_tests::parts;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn every_simulated_venue_answers_the_plan_of_its_adapter() {
    let sim = Sim::start(SimConfig { rate: 400, event_ms: Some(500), ..SimConfig::default() }).await.unwrap();
    let address = sim.addr();
    let adapters = [("binance", 2), ("okx", 2), ("deribit", 1), ("kraken", 1), ("bybit", 2)];
    join_all(adapters.map(async |(adapter, exchanges)| {
        let mut command = Command::new(parts::binary("marketprism-edge"));
        // Five at once, on a machine that may be busy with other things. Answering the plan needs no mutations. Those are for the damaged frames of Bybit
        // and Kraken, which no test of their own compares: a block has 64 frames of one case.
        command.args(["adapter", "test", "--json", "--mutations", "100", "--simulator-seconds", "300"]);
        command.args(["--simulator", &format!("http://{address}")]).arg(parts::adapter(adapter));
        let output = tokio::process::Command::from(command).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{adapter}: {errors}\n{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(passed(&report, "simulator"), exchanges, "{adapter}: {text}");
    }))
    .await;
}

/// Number of passed checks with this id anywhere in the report.
fn passed(report: &Value, id: &str) -> usize {
    let here = usize::from(report["id"] == id && report["outcome"] == "passed");
    let below: usize = match report {
        Value::Array(values) => values.iter().map(|value| passed(value, id)).sum(),
        Value::Object(values) => values.values().map(|value| passed(value, id)).sum(),
        _ => 0,
    };
    here + below
}
