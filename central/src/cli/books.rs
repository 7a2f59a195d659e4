//! `book`.

use clap::Args;
use marketprism_schema::MarketType;
use marketprism_service::Exit;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reports::print;
use crate::books::{BookScope, BookVerdict, book_at};
use crate::clock;
use crate::config::Config;
use crate::report::terminal::Paint;
use crate::time::read_time;

#[derive(Debug, Args)]
pub struct BookArgs {
    /// Normalized symbol such as BTC-USDT
    symbol: String,
    /// The venue's time: RFC 3339 with up to six decimals such as 2026-11-22T16:00:00.123456Z, an age such as 90s, 30m or 24h, or now
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: String,
    /// Needed where several exchanges have the symbol
    #[arg(long)]
    exchange: Option<String>,
    /// Needed where the exchange has the symbol in several
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(MarketType::ALL.iter().map(|one| one.as_str())))]
    market_type: Option<String>,
    /// Use the records of this edge only [default: the edge that proves the state]
    #[arg(long)]
    edge: Option<String>,
    /// Levels a side [default: all that are known]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub async fn execute(config: &Config, args: &BookArgs) -> anyhow::Result<Exit> {
    let scope = BookScope {
        symbol: args.symbol.clone(),
        exchange: args.exchange.clone(),
        market_type: args.market_type.clone(),
        edge: args.edge.clone(),
        depth: args.depth.map(|levels| levels as usize),
        at_us: read_micros(&args.at)?,
    };
    let document = book_at(config, &scope).await?;
    print(args.json, &document, |paint: Paint| document.render(paint))?;
    Ok(if document.verdict == BookVerdict::NotProvable { Exit::FAILED } else { Exit::SUCCESS })
}

fn read_micros(text: &str) -> anyhow::Result<i64> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(i64::try_from(moment.unix_timestamp_nanos() / 1_000)?);
    }
    let now_us = clock::now_ns() / 1_000;
    let ms = read_time("at", Some(text), now_us / 1_000)?;
    Ok(ms.filter(|_| text != "now").map_or(now_us, |ms| ms.saturating_mul(1_000)))
}
