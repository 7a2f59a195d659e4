//! Frames of connections by their topic, and answers of polls.

mod book;
mod control;
mod items;
mod liquidation;
mod ratio;
mod ticker;
mod trade;

use control::RefusedTopics;
use marketprism_adapter_sdk::{Cursor, Frame, FrameSource, Ignored, LoadedFeed, Output, ParseResult};
use ticker::TickerStates;

/// State that is kept between frames.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    /// The venue sends only the changed fields of a ticker.
    tickers: TickerStates,
    refused: RefusedTopics,
}

pub(crate) fn normalize(
    state: &mut SessionState,
    loaded: &LoadedFeed,
    output: &mut Output,
    frame: Frame<'_>,
) -> ParseResult<()> {
    match loaded.source(frame.source) {
        FrameSource::Connection(connection) => message(state, loaded, output, connection, frame.bytes),
        FrameSource::Poll(poll) => {
            let planned = loaded.plan.polls.get(poll as usize);
            if planned.is_some_and(|poll| poll.reference) {
                state.tickers.learn(loaded, output, frame.bytes)
            } else {
                let instrument = planned.and_then(|poll| poll.instrument);
                ratio::answer(loaded, output, frame.bytes, instrument)
            }
        }
        FrameSource::Resync(_) | FrameSource::Backfill(_) => {
            Cursor::new(frame.bytes).expected("a source number of the plan")
        }
    }
}

fn message(
    state: &mut SessionState,
    loaded: &LoadedFeed,
    output: &mut Output,
    connection: u32,
    frame: &[u8],
) -> ParseResult<()> {
    if frame == b"pong" {
        output.ignored(Ignored::Heartbeat);
        return Ok(());
    }
    let Some(message) = output.object(frame)? else { return Ok(()) };
    let Some(topic) = message.optional("topic", Cursor::text)? else {
        return state.refused.answer(loaded, output, connection, &message);
    };
    let (kind, rest) = topic.split_once('.').unwrap_or((&topic, ""));
    match kind {
        "publicTrade" => trade::trades(loaded, output, &message, rest),
        "orderbook" => match rest.split_once('.') {
            // Level 1 repeats ids, levels with the orders of retail apart have another form, and the full book has no snapshot of its own.
            Some(("1" | "rpi" | "full", _)) | None => ignored(output, Ignored::NotNeeded),
            Some((depth, symbol)) if is_number(depth) => book::book(loaded, output, &message, symbol),
            Some(_) => ignored(output, Ignored::UnknownKind),
        },
        "tickers" => state.tickers.read(loaded, output, &message, rest),
        "allLiquidation" | "liquidation" => liquidation::liquidations(loaded, output, &message, rest),
        "system" => ignored(output, Ignored::Status),
        "kline" | "insurance" | "priceLimit" | "adlAlert" => ignored(output, Ignored::NotNeeded),
        _ => ignored(output, Ignored::UnknownKind),
    }
}

fn is_number(depth: &str) -> bool {
    depth.bytes().all(|byte| byte.is_ascii_digit())
}

fn ignored(output: &mut Output, reason: Ignored) -> ParseResult<()> {
    output.ignored(reason);
    Ok(())
}
