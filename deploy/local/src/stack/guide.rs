//! Instructions shown after a start.

use marketprism_schema::HOT;

use crate::{ClickHouse, Settings, StackPaths};

/// Commands to paste, with the addresses of this stack.
pub(super) fn how_to_look(paths: &StackPaths, settings: &Settings, clickhouse: &ClickHouse) -> String {
    let ports = &settings.ports;
    let url = clickhouse.url.as_str();
    let user = if clickhouse.password.is_some() {
        format!(" -H 'X-ClickHouse-User: {}' -H \"X-ClickHouse-Key: $CLICKHOUSE_PASSWORD\"", clickhouse.user)
    } else {
        String::new()
    };
    let (host, port) = (
        clickhouse.url.host_str().unwrap_or("127.0.0.1"),
        clickhouse.url.port_or_known_default().unwrap_or(8123),
    );
    format!(
        r#"how to look
  incoming data, its age and lag          http://127.0.0.1:{central}/
  completeness: what is missing, and why  http://127.0.0.1:{central}/integrity
    in the terminal                       {binary} integrity --config {config}
  requests that change state need the token in {token} (readable for you only)
    curl -X POST -H "Authorization: Bearer $(cat {token})" 'http://127.0.0.1:{central}/repair'
  the last trades
    curl{user} '{url}' --data-binary "SELECT timestamp, exchange, symbol, side, price, quantity FROM {HOT}.trades ORDER BY timestamp DESC LIMIT 10 FORMAT PrettyCompact"
  the best prices of the last books
    curl{user} '{url}' --data-binary "SELECT exchange, symbol, max(timestamp) AS at, argMax(bids[1].price, timestamp) AS bid, argMax(asks[1].price, timestamp) AS ask FROM {HOT}.orderbooks GROUP BY exchange, symbol FORMAT PrettyCompact"
  collected streams and their freshness   curl http://127.0.0.1:{edge}/coverage
  metrics                                 curl http://127.0.0.1:{edge}/metrics    curl http://127.0.0.1:{central}/metrics
  python                                  pip install clickhouse-connect
    import clickhouse_connect
    client = clickhouse_connect.get_client(host="{host}", port={port})
    print(client.query("SELECT exchange, symbol, count() FROM {HOT}.trades GROUP BY ALL").result_rows)
  state and logs: make status, .marketprism/logs       stop: make down"#,
        edge = ports.edge,
        token = paths.shown(&paths.token()),
        config = paths.shown(&paths.config().join("central.toml")),
        binary = paths.shown(&paths.binaries().join("marketprism-central")),
        central = ports.central,
    )
}
