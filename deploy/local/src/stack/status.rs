//! Reports the state of the stack, and shows how to use it.

use marketprism_schema::{COLD, HOT};
use marketprism_service::{error_text, mask};

use super::part::health_url;
use super::plan::{Plan, Tables};
use super::{CLICKHOUSE, CLICKHOUSE_COLD, EDGE, NATS, SIMULATOR};
use crate::console::table;
use crate::process::{ProcessRecord, ProcessState, memory_bytes};
use crate::{ClickHouse, Client, ColdPlace, Console, Settings, StackPaths};

/// Prints the parts and the tables; returns true if every part runs and is healthy.
pub async fn status(paths: &StackPaths, settings: &Settings, console: &Console) -> anyhow::Result<bool> {
    show(paths, settings, &Client::new()?, console).await
}

pub(super) async fn show(
    paths: &StackPaths,
    settings: &Settings,
    client: &Client,
    console: &Console,
) -> anyhow::Result<bool> {
    let plan = Plan::new(paths, settings, console);
    let heading = ["part", "state", "pid", "address", "health", "memory", "log"].map(str::to_owned).to_vec();
    let mut rows = vec![heading];
    let mut all_healthy = true;
    for part in [NATS, CLICKHOUSE, CLICKHOUSE_COLD, super::CENTRAL, SIMULATOR, EDGE] {
        let record = ProcessRecord::load(&paths.run(), part)?;
        match (record, given_address(&plan, part)) {
            (Some(record), _) => {
                let (row, healthy) = row_of(paths, client, &record).await;
                rows.push(row);
                all_healthy &= healthy;
            }
            (None, Some(address)) => {
                let row = [part, "given", "", &address, "", "", ""];
                rows.push(row.map(str::to_owned).to_vec());
            }
            (None, None)
                if part == SIMULATOR || part == CLICKHOUSE_COLD && plan.cold == ColdPlace::Together => {}
            (None, None) => {
                rows.push(vec![part.to_owned(), "not started".to_owned()]);
                all_healthy = false;
            }
        }
    }
    console.say(table(&rows));
    if let Some(edge) = ProcessRecord::load(&paths.run(), EDGE)? {
        console.say(format!("  data from {}", edge.note));
    }
    let hot = plan.clickhouse()?;
    let cold = plan.cold_clickhouse()?.unwrap_or_else(|| hot.clone());
    for (side, database, server) in [("hot", HOT, &hot), ("cold", COLD, &cold)] {
        let rows = rows_of_tables(database, server, client).await;
        all_healthy &= rows.is_ok();
        console.say(format!("  rows in {side}: {}", rows.unwrap_or_else(|error| error)));
    }
    Ok(all_healthy)
}

/// Address of a part that the stack does not run.
fn given_address(plan: &Plan<'_>, part: &str) -> Option<String> {
    match (part, &plan.tables) {
        (NATS, _) => {
            plan.settings.nats_url.as_ref().map(|_| "as MARKETPRISM_NATS_URL or NATS_URL says".to_owned())
        }
        (CLICKHOUSE, Tables::Given(server)) => Some(mask(server.url.as_str()).into_owned()),
        _ => None,
    }
}

async fn row_of(paths: &StackPaths, client: &Client, record: &ProcessRecord) -> (Vec<String>, bool) {
    let log = paths.shown(&record.log);
    let ended = |state: &str| {
        let pid = record.process.pid.to_string();
        let cells = [
            record.part.clone(),
            state.to_owned(),
            pid,
            String::new(),
            String::new(),
            String::new(),
            log.clone(),
        ];
        (cells.to_vec(), false)
    };
    match record.state() {
        ProcessState::Alive => {}
        ProcessState::Gone => return ended("ENDED"),
        ProcessState::Reused { .. } => return ended("ENDED (pid reused)"),
    }
    let health = match health_url(&record.part, &record.ports) {
        None => Err("not known".to_owned()),
        Some(url) => match client.get(&url).await {
            Ok(answer) if answer.status == 200 => Ok("ok".to_owned()),
            Ok(answer) => Err(format!("{} {}", answer.status, first_line(&answer.body))),
            Err(error) => Err(mask(&error.root_cause().to_string()).into_owned()),
        },
    };
    let healthy = health.is_ok();
    let memory = memory_bytes(record.process.pid).map(|bytes| format!("{} MB", bytes / 1_000_000));
    let cells = [
        record.part.clone(),
        "runs".to_owned(),
        record.process.pid.to_string(),
        record.address.clone(),
        health.unwrap_or_else(|why| why),
        memory.unwrap_or_default(),
        log,
    ];
    (cells.to_vec(), healthy)
}

fn first_line(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    text.lines().next().unwrap_or_default().chars().take(SHOWN_CHARS_MAX).collect()
}

/// Tables of the schema itself: their rows are no collected data.
const OWN_TABLES: &str = "'schema_migrations', 'watermarks', 'window_log'";

/// Rows by table; the error of a server that does not answer.
async fn rows_of_tables(database: &str, server: &ClickHouse, client: &Client) -> Result<String, String> {
    let query = format!(
        "SELECT name, total_rows FROM system.tables WHERE database = '{database}' AND total_rows > 0 AND name NOT IN ({OWN_TABLES}) \
         ORDER BY name"
    );
    let rows = client.query(server, &query).await.map_err(|error| error_text(error.as_ref()).to_string())?;
    let entries: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
    Ok(if entries.is_empty() { "none yet".to_owned() } else { entries.join(", ") })
}

/// Commands to paste, with the addresses of this stack.
pub(super) fn how_to_look(paths: &StackPaths, settings: &Settings, clickhouse: &ClickHouse) -> String {
    let ports = &settings.ports;
    let (url, curl_tls, python_tls) = over_tls(clickhouse);
    let name = &clickhouse.user;
    let (user, password) = match (&clickhouse.password_file, &clickhouse.password) {
        (Some(file), _) => {
            let file = paths.shown(file);
            (
                format!(" -H \"X-ClickHouse-Key: $(cat {file})\""),
                format!(", username=\"{name}\", password=open(\"{file}\").read().strip()"),
            )
        }
        (None, Some(_)) => (
            format!(" -H 'X-ClickHouse-User: {name}' -H \"X-ClickHouse-Key: $CLICKHOUSE_PASSWORD\""),
            format!(", username=\"{name}\", password=os.environ[\"CLICKHOUSE_PASSWORD\"]"),
        ),
        (None, None) => (String::new(), String::new()),
    };
    let login = match (&clickhouse.password_file, &clickhouse.password) {
        (Some(file), Some(password)) => format!(
            "  ClickHouse: {url} user {name} password {} (in {}, readable for you only)\n",
            password.reveal(),
            paths.shown(file)
        ),
        _ => String::new(),
    };
    let (host, port) = (
        clickhouse.url.host_str().unwrap_or("127.0.0.1"),
        clickhouse.url.port_or_known_default().unwrap_or(8123),
    );
    format!(
        r#"how to look
{login}  incoming data, its age and lag          http://127.0.0.1:{central}/
  completeness: what is missing, and why  http://127.0.0.1:{central}/integrity
    in the terminal                       {binary} integrity --config {config}
  requests that change state need the token in {token} (readable for you only)
    curl -X POST -H "Authorization: Bearer $(cat {token})" 'http://127.0.0.1:{central}/repair'
  the last trades
    curl{user}{curl_tls} '{url}' --data-binary "SELECT timestamp, exchange, symbol, side, price, quantity FROM {HOT}.trades ORDER BY timestamp DESC LIMIT 10 FORMAT PrettyCompact"
  the best prices of the last books
    curl{user}{curl_tls} '{url}' --data-binary "SELECT exchange, symbol, max(timestamp) AS at, argMax(bids[1].price, timestamp) AS bid, argMax(asks[1].price, timestamp) AS ask FROM {HOT}.orderbooks GROUP BY exchange, symbol FORMAT PrettyCompact"
  collected streams and their freshness   curl http://127.0.0.1:{edge}/coverage
  metrics                                 curl http://127.0.0.1:{edge}/metrics    curl http://127.0.0.1:{central}/metrics
  python                                  pip install clickhouse-connect
    import clickhouse_connect
    client = clickhouse_connect.get_client(host="{host}", port={port}{password}{python_tls})
    print(client.query("SELECT exchange, symbol, count() FROM {HOT}.trades GROUP BY ALL").result_rows)
  state and logs: make status, make logs       stop: make down"#,
        edge = ports.edge_port,
        token = paths.shown(&paths.token()),
        config = paths.shown(&paths.config().join("central.toml")),
        binary = paths.shown(&paths.binaries().join("marketprism-central")),
        central = ports.central_port,
    )
}

/// Address for curl, and the options for TLS of curl and of the Python client.
fn over_tls(clickhouse: &ClickHouse) -> (String, String, String) {
    let (mut url, tls) = (clickhouse.url.clone(), &clickhouse.tls);
    let (mut curl, mut python) = (String::new(), String::new());
    if url.scheme() == "https" {
        python.push_str(", secure=True");
    }
    let files = [
        (&tls.ca_file, "--cacert", "ca_cert"),
        (&tls.client_cert_file, "--cert", "client_cert"),
        (&tls.client_key_file, "--key", "client_cert_key"),
    ];
    for (file, option, argument) in files {
        let Some(file) = file else { continue };
        curl.push_str(&format!(" {option} '{}'", file.display()));
        python.push_str(&format!(", {argument}={:?}", file.display().to_string()));
    }
    if let Some(name) = &tls.server_name {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(8443));
        curl.push_str(&format!(" --connect-to '{name}:{port}:{host}:{port}'"));
        python.push_str(&format!(", server_host_name={name:?}"));
        // A name that is none is refused by every request.
        let _ = url.set_host(Some(name));
    }
    (mask(url.as_str()).into_owned(), curl, python)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClickHouseTls;

    #[test]
    fn commands_to_paste_have_the_options_for_tls() {
        let tls = ClickHouseTls {
            ca_file: Some("/ca.pem".into()),
            server_name: Some("db.internal".to_owned()),
            ..ClickHouseTls::default()
        };
        let (user, url) = ("default".to_owned(), "https://10.0.0.1:8443/".parse().unwrap());
        let server = ClickHouse { url, user, password: None, password_file: None, tls };
        let (url, curl, python) = over_tls(&server);
        assert_eq!(url, "https://db.internal:8443/");
        assert_eq!(curl, " --cacert '/ca.pem' --connect-to 'db.internal:8443:10.0.0.1:8443'");
        assert_eq!(python, ", secure=True, ca_cert=\"/ca.pem\", server_host_name=\"db.internal\"");
        let plain =
            ClickHouse { url: "http://h:1".parse().unwrap(), tls: ClickHouseTls::default(), ..server };
        assert_eq!(over_tls(&plain), ("http://h:1/".to_owned(), String::new(), String::new()));
    }
}
