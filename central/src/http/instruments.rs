//! `/instruments`: the terms of instruments at a time.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use clickhouse::Row;
use marketprism_schema::MarketType;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::problem::Problem;
use crate::clock;
use crate::limits;
use crate::report::sources::Answer;
use crate::report::{Sources, Time};
use crate::sql;
use crate::storage::Storage;
use crate::time::read_time;

/// Parameters as given.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InstrumentQuery {
    /// Only instruments of this exchange
    #[param(example = "sim_spot")]
    exchange: Option<String>,
    /// Only instruments of this type: `spot`, `perpetual`, `futures` or `options`
    #[param(example = "perpetual")]
    market_type: Option<String>,
    /// Only the instruments of this symbol
    #[param(example = "BTC-USDT")]
    symbol: Option<String>,
    /// Terms of this time: RFC 3339, an age such as `90s`, `30m`, `24h`, `7d`, or `now` [default: now]
    #[param(example = "now")]
    at: Option<String>,
}

/// Instruments with the terms that edges reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InstrumentTable {
    pub version: u32,
    /// The terms are those of this time.
    pub at: Time,
    /// By exchange, market type and symbol.
    pub instruments: Vec<InstrumentRow>,
    /// There are more: name an exchange, a market type or a symbol.
    pub truncated: bool,
}

/// Terms of one instrument. Numbers are exact decimals as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InstrumentRow {
    pub exchange: String,
    pub market_type: String,
    pub symbol: String,
    /// As the venue writes it.
    pub venue_symbol: String,
    pub base: String,
    pub quote: String,
    /// `trading`, `not_trading` or `delisted`.
    pub status: String,
    /// `linear`, `inverse`; absent for spot and options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// Base units in one contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_size: Option<String>,
    /// Quote units in one contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<String>,
    pub price_scale: u8,
    pub quantity_scale: u8,
    /// First time at which an edge read these terms.
    pub from: Time,
    /// Begin of the next terms; absent while these last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
}

#[derive(Debug, Row, Deserialize)]
struct StoredVersion {
    /// Exchange, market type, symbol, venue symbol, base, quote, status, contract.
    texts: Vec<String>,
    /// Contract size, contract value, tick size, step size; empty if absent.
    sizes: Vec<String>,
    scales: (u8, u8),
    from_ms: i64,
    /// 0: it lasts.
    to_ms: i64,
}

/// Instruments and their terms: ticks, steps, contract sizes, status, at a time.
#[utoipa::path(get, path = "/instruments", tag = "data", params(InstrumentQuery), responses(
    (status = 200, description = "The instruments", body = InstrumentTable),
    (status = 400, description = "Invalid parameter: the answer names it, its value and the allowed values", body = Problem),
    (status = 429, description = "Too many different requests at once", body = Problem),
    (status = 503, description = "ClickHouse did not answer", body = Problem),
))]
pub async fn serve_instruments(
    State(app): State<Arc<App>>,
    query: Result<Query<InstrumentQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| {
        Problem::bad("query", &error.body_text(), "exchange, market_type, symbol, at, each at most once")
    })?;
    let now_ms = clock::now_ns() / 1_000_000;
    let at_ms = read_time("at", query.at.as_deref(), now_ms)?.unwrap_or(now_ms);
    let given = |text: &Option<String>| {
        text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let (exchange, market_type, symbol) =
        (given(&query.exchange), given(&query.market_type), given(&query.symbol));
    if let Some(market) = market_type.as_deref().filter(|market| market.parse::<MarketType>().is_err()) {
        let allowed = MarketType::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Problem::bad("market_type", market, &allowed));
    }
    let filters = [("exchange", exchange), ("market_type", market_type), ("symbol", symbol)];
    let question = format!("{filters:?} {:?}", query.at);
    let table = app.instruments(&question, filters, at_ms).await?;
    match &*table {
        Ok(table) => Ok(([(header::CACHE_CONTROL, "no-store")], Json(table)).into_response()),
        Err(reason) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason.clone())),
    }
}

/// Column and value.
pub type InstrumentFilters = [(&'static str, Option<String>); 3];

pub async fn instruments(
    sources: &Sources,
    filters: InstrumentFilters,
    at_ms: i64,
) -> Answer<InstrumentTable> {
    let most = limits::INSTRUMENTS_SHOWN;
    let read = async |storage: &Storage| {
        sources.rows::<StoredVersion>(storage, &query(&storage.database, &filters, at_ms, most + 1)).await
    };
    // Both sides have every version; a cold side may be on its own.
    let mut rows = match read(&sources.hot).await {
        Ok(rows) => rows,
        Err(hot) => read(&sources.cold).await.map_err(|cold| format!("hot: {hot}; cold: {cold}"))?,
    };
    let truncated = rows.len() > most;
    rows.truncate(most);
    let instruments = rows.into_iter().filter_map(row_of).collect();
    Ok(InstrumentTable { version: 1, at: Time(at_ms), instruments, truncated })
}

fn query(database: &str, filters: &InstrumentFilters, at_ms: i64, most: usize) -> String {
    let at = sql::millis(at_ms);
    let named = |(column, value): &(&str, Option<String>)| {
        value.as_deref().map(|value| format!(" AND {column} = {}", sql::quote(value))).unwrap_or_default()
    };
    let filters: String = filters.iter().map(named).collect();
    format!(
        "SELECT arrayMap(text -> toString(text), [toString(exchange), toString(market_type), toString(symbol), venue_symbol, toString(base), \
         toString(quote), toString(status), toString(contract)]) AS texts, \
         arrayMap(size -> ifNull(toString(size), ''), [contract_size, contract_value, tick_size, step_size]) AS sizes, \
         (price_scale, quantity_scale) AS scales, intDiv(toUnixTimestamp64Micro(valid_from), 1000) AS from_ms, \
         ifNull(intDiv(toUnixTimestamp64Micro(valid_to), 1000), 0) AS to_ms \
         FROM {database}.instruments FINAL \
         WHERE valid_from <= {at} AND (valid_to IS NULL OR valid_to > {at}){filters} \
         ORDER BY exchange, market_type, symbol, valid_from LIMIT {most}"
    )
}

fn row_of(row: StoredVersion) -> Option<InstrumentRow> {
    let [exchange, market_type, symbol, venue_symbol, base, quote, status, contract] =
        <[String; 8]>::try_from(row.texts).ok()?;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let [contract_size, contract_value, tick_size, step_size] =
        <[String; 4]>::try_from(row.sizes).ok()?.map(given);
    Some(InstrumentRow {
        exchange,
        market_type,
        symbol,
        venue_symbol,
        base,
        quote,
        status,
        contract: given(contract),
        contract_size,
        contract_value,
        tick_size,
        step_size,
        price_scale: row.scales.0,
        quantity_scale: row.scales.1,
        from: Time(row.from_ms),
        to: Time::some(row.to_ms),
    })
}
