//! Promise: curl and Python's clickhouse-connect read the tables unmodified.

use std::process::Command;

use marketprism_tests::parts;
use marketprism_tests::process::run;
use marketprism_tests::stack::Stack;

const INSERT: &str = "INSERT INTO marketprism_hot.trades (timestamp, exchange, market_type, symbol, venue_symbol, trade_id, \
                      price, quantity, side, is_maker, received_at, event_id, created_at) VALUES \
                      (now64(6), 'sim', 'spot', 'BTC-USDT', 'BTCUSDT', '1', '64000.1', '0.000000000000000001', 'sell', true, now64(9), 1, now64(3)), \
                      (now64(6), 'sim', 'spot', 'BTC-USDT', 'BTCUSDT', '2', '64000.2', '92233720368547758.07', 'buy', false, now64(9), 2, now64(3))";

const READ: &str = r#"
import sys
from decimal import Decimal
import clickhouse_connect
client = clickhouse_connect.get_client(host="127.0.0.1", port=int(sys.argv[1]), password=sys.argv[2], database="marketprism_hot")
rows = client.query("SELECT trade_id, price, quantity, is_maker, side FROM trades ORDER BY trade_id").result_rows
assert rows == [
    ("1", Decimal("64000.1"), Decimal("0.000000000000000001"), True, "sell"),
    ("2", Decimal("64000.2"), Decimal("92233720368547758.07"), False, "buy"),
], rows
assert client.query("SELECT count() FROM trades WHERE side = {side:String}", parameters={"side": "buy"}).result_rows == [(1,)]
tables = {row[0] for row in client.query("SHOW TABLES FROM marketprism_cold").result_rows}
assert tables == {"trades", "orderbooks", "funding_rates", "open_interests", "liquidations", "lsr_top_positions",
                  "lsr_all_accounts", "volatility_indices", "orderbook_deltas", "orderbook_delta_levels", "book_at", "quotes", "quote_prices", "trade_values", "instruments", "window_log", "watermarks", "applied_corrections", "schema_migrations"}, tables
try:
    client.query("SELECT nothing FROM trades")
except clickhouse_connect.driver.exceptions.DatabaseError as error:
    assert "nothing" in str(error), error
else:
    raise AssertionError("a wrong query was not refused")
print("read by clickhouse-connect")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_clickhouse_connect_read_the_tables() {
    let stack = Stack::start().await;
    stack.clickhouse.text(INSERT).await.unwrap();

    let query = "SELECT toString(price) FROM trades ORDER BY trade_id FORMAT TabSeparated";
    let url = format!("{}/?database=marketprism_hot", stack.clickhouse.url());
    let read = run(Command::new("curl").args(["-sS", "--fail", &url, "--data-binary", query]));
    assert_eq!(read, "64000.1\n64000.2\n");

    let (port, password) = (stack.clickhouse.port().to_string(), stack.clickhouse.password());
    let python = Command::new(parts::python()).args(["-c", READ, &port, &password]).output().unwrap();
    let output =
        format!("{}{}", String::from_utf8_lossy(&python.stdout), String::from_utf8_lossy(&python.stderr));
    assert!(python.status.success() && output.contains("read by clickhouse-connect"), "{output}");
}
