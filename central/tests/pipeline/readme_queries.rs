//! Promise: the queries of `schema/sql/README.md` give the numbers that it says.

use crate::stack::Stack;

const README: &str = include_str!("../../../schema/sql/README.md");

/// Queries of the first block below a text of the README.
fn queries(below: &str) -> Vec<&'static str> {
    let (_, rest) = README.split_once(below).unwrap();
    let (block, _) = rest.split_once("```sql\n").unwrap().1.split_once("```").unwrap();
    block.split(';').map(str::trim).filter(|query| !query.is_empty()).collect()
}

/// Rows of a query, a line each.
async fn rows(stack: &Stack, query: &str) -> Vec<String> {
    let text = format!("SELECT groupArray(toString(tuple(*))) FROM ({query})");
    stack.hot().query_raw(&text).fetch_one().await.unwrap_or_else(|error| panic!("{query}: {error}"))
}

const EVENT: &str = "timestamp, exchange, market_type, symbol, event_id";

/// Today: hot drops older rows.
fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

/// Each value: a time of the day, a space, and the values of the columns.
async fn insert(stack: &Stack, day: &str, table: &str, columns: &str, values: &[&str]) {
    let rows: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(id, value)| {
            let (time, rest) = value.split_once(' ').unwrap();
            format!("('{day} {time}', 'sim', 'perpetual', 'BTC-USDT', {id}, {rest})")
        })
        .collect();
    let rows = rows.join(", ");
    stack.execute(&format!("INSERT INTO marketprism_hot.{table} ({EVENT}, {columns}) VALUES {rows}")).await;
}

/// ClickHouse leaves two digits before the point of a product or a dividend of `Decimal(38, 18)`, and does not check for overflow.
#[tokio::test(flavor = "multi_thread")]
async fn products_and_quotients_of_bitcoin_are_exact() {
    let Some((stack, _)) = Stack::laid_out("").await else { return };
    let day = &today();
    // By their texts, the ids are in another order.
    let trades = ["07:00:00 '999', '30000.05', '1.5'", "07:00:00 '1000', '60000.1', '0.5'"];
    insert(&stack, day, "trades", "trade_id, price, quantity", &trades).await;
    let books =
        ["07:00:00 [('60000', '1'), ('59999', '2')], [('60001', '1')]", "07:00:01 [], [('60001', '1')]"];
    insert(&stack, day, "orderbooks", "bids, asks", &books).await;

    let [by_minute, returns, depth] = queries("## Arithmetic")[..] else { panic!("other queries") };
    let minute = format!("('sim','perpetual','BTC-USDT','{day} 07:00:00',75000.125,37500.0625)");
    assert_eq!(rows(&stack, by_minute).await, [minute]);
    let returns = rows(&stack, &format!("SELECT trade_return FROM ({returns})")).await;
    assert_eq!(returns, ["(NULL)", "(1)"]);
    let depth = rows(&stack, depth).await;
    assert_eq!(depth, [format!("('{day} 07:00:00.000000',179998,60000.5,0.000016666527778935175)")]);
    let floats = "SELECT value, price_float, quantity_float, value_float FROM marketprism_hot.trade_values WHERE trade_id = '1000'";
    assert_eq!(rows(&stack, floats).await, ["(30000.05,60000.1,0.5,30000.05)"]);

    // If one of these fails, the engine has mended it: the README's warning, and at last the view, can go.
    let plain = "SELECT price * quantity, 60000.1 = price / 1::Decimal(38, 18), price IN (60000.1), price IN ('60000.1') \
                 FROM marketprism_hot.trades WHERE trade_id = '1000'";
    let [wrong] = &rows(&stack, plain).await[..] else { panic!("no row") };
    assert!(!wrong.starts_with("(30000.05,") && wrong.ends_with(",0,0,1)"), "{wrong}");
    let empty = "SELECT bids[1].price FROM marketprism_hot.orderbooks WHERE empty(bids)";
    assert_eq!(rows(&stack, empty).await, ["(0)"]);
}

/// The rate of a row is charged at its `next_funding_time`: rates by `timestamp` would be an interval late.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_that_was_charged_is_the_last_estimate_before_the_charge() {
    let Some((stack, _)) = Stack::laid_out("").await else { return };
    let day = &today();
    let rates = [
        "07:59:58 '0.0001', 'DAY 08:00:00'",
        "07:59:59 '0.0002', 'DAY 08:00:00'",
        "08:00:00 '0.0009', 'DAY 08:00:00'",
        "08:00:01 '-0.0003', 'DAY 16:00:00'",
        "08:00:02 '0.0007', NULL",
    ]
    .map(|rate| rate.replace("DAY", day));
    let rates = rates.each_ref().map(String::as_str);
    insert(&stack, day, "funding_rates", "funding_rate, next_funding_time", &rates).await;
    let [query] = queries("**Funding that was charged**")[..] else { panic!("other queries") };
    let charged =
        |time: &str, rate: &str| format!("('sim','perpetual','BTC-USDT','{day} {time}.000000',{rate})");
    assert_eq!(rows(&stack, query).await, [charged("08:00:00", "0.0002"), charged("16:00:00", "-0.0003")]);
}
