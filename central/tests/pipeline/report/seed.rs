//! Tables of a healthy hour, and statements that cause faults.

use crate::stack::Stack;

/// Windows of the healthy hour; the newest is two minutes old.
pub const WINDOWS: u64 = 60;
const STREAMS: [(&str, &str); 2] = [("trade", "BTC-USDT"), ("orderbook", "BTC-USDT")];
const TABLES: [&str; 10] = [
    "trades",
    "orderbooks",
    "funding_rates",
    "open_interests",
    "liquidations",
    "lsr_top_positions",
    "lsr_all_accounts",
    "volatility_indices",
    "orderbook_deltas",
    "quotes",
];

/// SQL: begin of the window `back` windows before the newest.
pub fn window(back: u64) -> String {
    format!("toStartOfMinute(now64(3, 'UTC')) - INTERVAL {} MINUTE", back + 2)
}

/// A verdict newer than the healthy one.
pub fn verdict(back: u64, state: &str, reason: &str) -> String {
    format!(
        "INSERT INTO marketprism_hot.verdicts SELECT {}, 60, 'trade', 'sim_spot', 'spot', 'BTC-USDT', 'e1', '{state}', \
         '{reason}', 10, 7, 0, 0, 0, 0, [], 'unnumbered', 'complete', 0, [], false, now64(3) + INTERVAL 1 SECOND",
        window(back)
    )
}

const EMPTIED: [&str; 11] = [
    "marketprism_hot.verdicts",
    "marketprism_hot.audits",
    "marketprism_hot.edge_audits",
    "marketprism_hot.losses",
    "marketprism_hot.dead_letters",
    "marketprism_hot.trades",
    "marketprism_hot.orderbooks",
    "marketprism_cold.window_log",
    "marketprism_cold.watermarks",
    "marketprism_cold.trades",
    "marketprism_cold.orderbooks",
];

pub async fn forget(stack: &Stack) {
    for table in EMPTIED {
        stack.execute(&format!("TRUNCATE TABLE {table}")).await;
    }
}

/// Everything is verified, with recent rows in hot and cold.
pub async fn healthy(stack: &Stack) {
    forget(stack).await;
    for insert in healthy_rows() {
        stack.execute(&insert).await;
    }
}

/// The tables that a statement changed in the healthy hour are as before; the others are not written again.
pub async fn heal(stack: &Stack, changed_by: &str) {
    for table in EMPTIED.iter().filter(|table| changed_by.contains(*table)) {
        stack.execute(&format!("TRUNCATE TABLE {table}")).await;
        for insert in healthy_rows().iter().filter(|insert| insert.contains(table)) {
            stack.execute(insert).await;
        }
    }
}

fn healthy_rows() -> Vec<String> {
    let verdicts = STREAMS.map(|(data_type, symbol)| {
        format!(
            "INSERT INTO marketprism_hot.verdicts SELECT {} - toIntervalMinute(number), 60, '{data_type}', \
             'sim_spot', 'spot', '{symbol}', 'e1', 'verified', '', 10, 10, 0, 0, 0, 0, [], 'unnumbered', 'complete', 0, [], false, now64(3) \
             FROM numbers({WINDOWS})",
            window(0)
        )
    });
    let all_tables = format!("arrayJoin({TABLES:?})").replace('"', "'");
    let log = [copied("x", "verified", "number"), watermark("x", 1)];
    let log = log.map(|insert| insert.replace("'x'", &all_tables));
    let tables = ["marketprism_hot", "marketprism_cold"]
        .into_iter()
        .flat_map(|database| ["trades", "orderbooks"].map(|table| rows(database, table, "number")));
    verdicts.into_iter().chain(log).chain(tables).collect()
}

/// Logged windows, `offset` minutes before the newest.
pub fn copied(table: &str, state: &str, offset: &str) -> String {
    let (count, reason) = if state == "verified" { (WINDOWS, "") } else { (1, "cold holds 2 rows fewer") };
    format!(
        "INSERT INTO marketprism_cold.window_log (table_name, window_start, window_seconds, state, reason, rows, \
         cold_rows, logged_at) SELECT '{table}', {} - toIntervalMinute({offset}), 60, '{state}', '{reason}', 10, 8, \
         now64(3) + if('{state}' = 'verified', 0, 1) FROM numbers({count})",
        window(0)
    )
}

pub fn watermark(table: &str, minutes: u64) -> String {
    format!(
        "INSERT INTO marketprism_cold.watermarks SELECT '{table}', now64(3) - INTERVAL {minutes} MINUTE, now64(3), \
         'ok', now64(3) + {minutes}"
    )
}

/// A hundred recent rows; `id`: their event ids.
pub fn rows(database: &str, table: &str, id: &str) -> String {
    let (own, values) = match table {
        "trades" => ("trade_id, price, quantity, side, is_maker", "toString(number), 1, 1, 'buy', true"),
        _ => ("last_update_id, epoch", "number, 1"),
    };
    format!(
        "INSERT INTO {database}.{table} (timestamp, exchange, market_type, symbol, venue_symbol, {own}, received_at, \
         event_id, edge, stream_seq, created_at) SELECT now64(6) - toIntervalMillisecond(number), 'sim_spot', 'spot', \
         'BTC-USDT', 'BTCUSDT', {values}, now64(9), toUInt128({id}), 'e1', number, now64(3) FROM numbers(100)"
    )
}

fn audit_with(back: u64, gap: &str) -> String {
    format!(
        "INSERT INTO marketprism_hot.audits (window_start, window_seconds, data_type, exchange, market_type, symbol, edge, \
         run, gaps, created_at) SELECT {}, 60, 'trade', 'sim_spot', 'spot', 'BTC-USDT', 'e1', 1, [{gap}], now64(3)",
        window(back)
    )
}

/// Clock and latencies of an edge in a window: four trades took 10 to 25 us.
pub fn edge_audit(clocks: &str, steps: &str) -> String {
    format!(
        "INSERT INTO marketprism_hot.edge_audits SELECT {}, 60, 'e1', 'r', 1, [{clocks}], [{steps}], \
         [('sim_spot', 'trade', 'venue_to_edge', [0, 4])], 1, now64(3)",
        window(5)
    )
}

/// SQL: begin and end of a window in nanoseconds, and no times of the venue.
fn times(back: u64) -> String {
    let begin = format!("toInt64(toUnixTimestamp({}))", window(back));
    format!("{begin} * 1000000000, ({begin} + 60) * 1000000000, NULL, NULL")
}

pub fn gap_of_unknown_size(back: u64) -> String {
    audit_with(back, &format!("('connection', 'network', NULL, NULL, NULL, {}, 'cut')", times(back)))
}

/// A gap caused by the venue, with its verdict. The evidence has markup, as a hostile venue might send.
pub async fn gap(stack: &Stack, back: u64) {
    let evidence = "ids jump from 5 to 9 <img src=x onerror=alert(1)>";
    let gap = format!("('trade_ids', 'venue', 5, 9, 3, {}, '{evidence}')", times(back));
    stack.execute(&audit_with(back, &gap)).await;
    let of_gap = "10, 10, 0, 0, 1, 3, ['venue']";
    stack.execute(&verdict(back, "verified", "").replace("10, 7, 0, 0, 0, 0, []", of_gap)).await;
}
