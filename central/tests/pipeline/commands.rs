//! `query`, `validate` and `longrun` against a running central.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use marketprism_tests::wait::eventually;
use serde_json::Value;

use crate::events::{Publisher, now_us, publish, trade};
use crate::stack::{Stack, contains_all};

const TRADES: &str =
    "SELECT trade_id, price, toUnixTimestamp64Micro(timestamp) AS us FROM trades ORDER BY price";

/// Exit status, standard output, standard error.
fn run(stack: &Stack, config: &Path, command: &str, more: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = stack.command(command, config, more);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_read_in_every_form_and_within_their_limits() {
    let Some((stack, _central, jetstream)) = Stack::ready("").await else { return };
    let config = stack.configure("");
    let base = now_us();
    publish(&jetstream, (1..=3).map(|n| trade(n, base))).await;
    stack.has_trades(3).await;
    let query = |more: &[&str]| run(&stack, &config, "query", more);

    let (status, table, error) = query(&[TRADES]);
    assert_eq!(status, 0, "{error}");
    contains_all(&table, &["trade_id", "60000.00000008", "\u{2502}"]);
    let (_, csv, _) = query(&[TRADES, "--format", "csv"]);
    let [first, third] = [1, 3].map(|n| base + n);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "\"trade_id\",\"price\",\"us\"");
    assert_eq!((lines[1], lines.len()), (format!("\"1\",60000.00000008,{first}").as_str(), 4));
    let (_, json, _) = query(&[TRADES, "--format", "json-lines"]);
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    // Texts, that no reader rounds.
    assert_eq!((&last["price"], &last["us"]), (&"60000.00000022".into(), &third.to_string().into()));
    let parquet = stack.write("rows.parquet", "before");
    let path = parquet.to_str().unwrap();
    assert_eq!(query(&[TRADES, "--format", "parquet", "--output", path]).0, 0);
    assert!(std::fs::read(&parquet).unwrap().starts_with(b"PAR1"));

    no_form_shortens_names_or_values(&stack, &config);
    a_mounted_file_takes_the_result(&stack, &config);

    // What fails leaves the file as it was.
    let too_many = query(&[TRADES, "--max-rows", "2", "--format", "csv", "--output", path]);
    assert_eq!(too_many.0, 2, "{too_many:?}");
    contains_all(&too_many.2, &["more than 2 rows", "--max-rows"]);
    assert!(std::fs::read(&parquet).unwrap().starts_with(b"PAR1"));
    let left = std::fs::read_dir(parquet.parent().unwrap()).unwrap();
    let left: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.ends_with(".part")), "{left:?}");
    let many = "SELECT number FROM system.numbers LIMIT 200000";
    let broken_off = query(&[many, "--max-rows", "150000", "--format", "json-lines"]);
    assert_eq!((broken_off.0, broken_off.1.as_str()), (2, ""), "{}", broken_off.2);
    let formed = query(&["SELECT 1 FORMAT JSON", "--format", "parquet", "--output", path]);
    assert!(formed.0 == 2 && formed.2.contains("--format"), "{formed:?}");
    // A link to a device: written to, not replaced.
    let link = parquet.with_file_name("null");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    assert_eq!(query(&["SELECT 1", "--output", link.to_str().unwrap()]).0, 0);
    assert!(link.is_symlink() && !std::fs::metadata(&link).unwrap().is_file());
    let slow = query(&["SELECT count() FROM system.numbers", "--timeout", "1s"]);
    assert_eq!(slow.0, 2, "{slow:?}");
    contains_all(&slow.2, &["not done within 1 s", "--timeout"]);
    // The server refuses, whatever the statement looks like.
    for changing in [
        "INSERT INTO trades SELECT * FROM trades",
        "DROP TABLE trades",
        "ALTER TABLE trades DELETE WHERE 1",
        "SELECT 1 SETTINGS max_result_rows = 0",
    ] {
        let refused = query(&[changing]);
        assert_eq!(refused.0, 2, "{changing}: {refused:?}");
        contains_all(&refused.2, &["only reads", "readonly"]);
    }
    assert_eq!(stack.trades().await, Some(3));
    let (_, wrong, error) = query(&["SELECT nothing FROM trades"]);
    assert!(wrong.is_empty() && error.contains("nothing"), "{error}");

    let mut asked = Stack::central_command("query", &config);
    asked.args(["-", "--cold", "--format", "csv"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut asked = asked.spawn().unwrap();
    asked.stdin.take().unwrap().write_all(b"SELECT currentDatabase()").unwrap();
    let answer = asked.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "\"currentDatabase()\"\n\"marketprism_cold\"\n");
}

/// By default ClickHouse writes a tuple of a CSV as several fields under one name, and cuts long values and names in a table.
fn no_form_shortens_names_or_values(stack: &Stack, config: &Path) {
    let query = |more: &[&str]| run(stack, config, "query", more);
    let (_, csv, error) = query(&["SELECT (1, 2) AS last, 3 AS n, NULL AS none", "--format", "csv"]);
    assert_eq!(csv, "\"last\",\"n\",\"none\"\n\"(1,2)\",3,\\N\n", "{error}");
    let (_, table, error) = query(&["SELECT repeat('x', 20000) AS long, 1 AS n UNION ALL SELECT 'y', 2"]);
    assert_eq!(table.matches('x').count(), 20_000, "{error}");
    let name = "a_name_of_a_column_with_more_than_28_letters";
    let statement = format!("SELECT 1 AS {name}");
    contains_all(&query(&[statement.as_str()]).1, &[name]);
}

/// As `docker run -v ./rows.csv:/rows.csv`: its name cannot be given to another file.
fn a_mounted_file_takes_the_result(stack: &Stack, config: &Path) {
    let [outside, mounted] = ["outside.csv", "mounted.csv"].map(|name| stack.write(name, "before"));
    let query = Stack::central_command("query", config);
    let mount = "mount --bind \"$0\" \"$1\" || exit 99; shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount]).arg(&outside).arg(&mounted);
    command.arg(query.get_program()).args(query.get_args()).args([TRADES, "--format", "csv", "--output"]);
    command.envs(query.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let asked = command.arg(&mounted).output();
    if asked.as_ref().map_or(true, |asked| !matches!(asked.status.code(), Some(0 | 2))) {
        eprintln!("SKIPPED: a mount needs root: {asked:?}");
        return;
    }
    let asked = asked.unwrap();
    assert!(asked.status.success(), "{asked:?}");
    assert_eq!(std::fs::read_to_string(&outside).unwrap().lines().count(), 4);
    assert_eq!(std::fs::read_to_string(&mounted).unwrap(), "before", "it was mounted over");
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_and_long_run_judge_what_passes_while_they_look() {
    let Some((stack, _central, jetstream)) = Stack::ready("").await else { return };
    let config = stack.configure("");
    let publisher = Publisher::start(jetstream, 20);
    stack.has_trades(1).await;

    // On a busy machine a batch may wait for longer than a run takes.
    let lines: Vec<Value> = eventually("a long run that passes", async || {
        let (status, lines, error) =
            run(&stack, &config, "longrun", &["--minutes", "0.05", "--every", "1s", "--json"]);
        let read = || lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if status == 0 { Ok(read()) } else { Err(format!("{status}: {lines}{error}")) }
    })
    .await;
    let (report, samples) = lines.split_last().unwrap();
    let report = &report["report"];
    assert_eq!(report["verdict"], "passed", "{report:#}");
    assert!(samples.len() >= 2 && samples.iter().all(|line| line["sample"].is_object()), "{samples:?}");
    assert_eq!(report["samples"], samples.len());
    let named = |list: &str, key: &str, name: &str| {
        let found = report[list].as_array().unwrap().iter().find(|one| one[key] == name);
        found.unwrap_or_else(|| panic!("{name} in {report:#}")).clone()
    };
    let stream = named("streams", "stream", "MARKET_DATA");
    assert!(stream["messages"]["total"].as_u64().unwrap() > 0, "{stream:#}");
    let table = named("tables", "table", "trades");
    assert!(table["rows"]["per_second_max"].as_f64().unwrap() > 0.0 && table["doubles"] == 0, "{table:#}");
    for process in ["central", "clickhouse hot"] {
        assert!(named("memory", "process", process)["max"].as_u64().unwrap() > 1 << 20, "{report:#}");
    }
    assert_eq!(report["losses"]["lost_messages"], 0, "{report:#}");

    let validate = || {
        let (status, text, error) = run(&stack, &config, "validate", &["--seconds", "1", "--json"]);
        (status, serde_json::from_str::<Value>(&text).unwrap_or_else(|_| panic!("{text} {error}")))
    };
    let failing = |validation: &Value| -> Vec<String> {
        let checks = validation["checks"].as_array().unwrap().iter();
        let failing = checks.filter(|check| check["found"] == "fail");
        failing.map(|check| check["code"].as_str().unwrap().to_owned()).collect()
    };
    // No edge runs that audits these trades, and there are no books; the flow itself is fine.
    let flowing = eventually("nothing but the edge and the books is missing", async || {
        let (status, flowing) = validate();
        let is_expected =
            status == 1 && failing(&flowing) == ["edge.no_recent_audit", "table.no_recent_rows"];
        if is_expected { Ok(flowing) } else { Err(format!("{status}: {:#}", flowing["checks"])) }
    })
    .await;
    assert_eq!(flowing["verdict"], "failed");
    let trades = flowing["tables"].as_array().unwrap().iter().find(|one| one["table"] == "trades").unwrap();
    assert!(trades["hot"]["rows"].as_u64().unwrap() > 0, "{trades:#}");

    publisher.end().await;
    // A merge would remove the double.
    stack.execute("SYSTEM STOP MERGES marketprism_hot.trades").await;
    stack.execute("INSERT INTO marketprism_hot.trades SELECT * FROM marketprism_hot.trades LIMIT 1").await;
    // The last batch of a busy central may come in the second that is measured.
    eventually("no message, and the double", async || {
        let (_, stopped) = validate();
        let codes = failing(&stopped);
        let is_named = |code: &&str| codes.iter().any(|found| found == code);
        let are_named = ["throughput.no_messages", "table.duplicate_rows"].iter().all(is_named);
        if are_named { Ok(()) } else { Err(format!("{:#}", stopped["checks"])) }
    })
    .await;
}
