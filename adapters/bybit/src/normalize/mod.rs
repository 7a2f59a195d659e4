//! Frames of connections by their topic, and answers of polls.

mod book;
mod control;
mod items;
mod liquidation;
mod ratio;
pub(crate) mod ticker;
mod trade;

use marketprism_adapter_sdk::{Cursor, Frame, FrameSource, Ignored, LoadedFeed, Object, Output, ParseResult};
use ticker::TickerStates;

pub(crate) fn normalize(
    tickers: &mut TickerStates,
    loaded: &LoadedFeed,
    output: &mut Output,
    frame: Frame<'_>,
) -> ParseResult<()> {
    match loaded.source(frame.source) {
        FrameSource::Connection(_) => message(tickers, loaded, output, frame.bytes),
        // Only ratios are polled.
        FrameSource::Poll(_) => ratio::answer(loaded, output, frame.bytes),
        FrameSource::Resync(_) => Cursor::new(frame.bytes).expected("a source number of the plan"),
    }
}

fn message(
    tickers: &mut TickerStates,
    loaded: &LoadedFeed,
    output: &mut Output,
    frame: &[u8],
) -> ParseResult<()> {
    if frame == b"pong" {
        output.ignored(Ignored::Heartbeat);
        return Ok(());
    }
    let message = Object::whole(frame)?;
    let Some(topic) = message.optional("topic", Cursor::text)? else {
        return control::control(output, &message);
    };
    let (kind, rest) = topic.split_once('.').unwrap_or((&topic, ""));
    match kind {
        "publicTrade" => trade::trades(loaded, output, &message, rest),
        "orderbook" => match rest.split_once('.') {
            // Level 1 is a stream of its own: it repeats ids.
            Some(("1", _)) | None => ignored(output, Ignored::NotNeeded),
            Some((_, symbol)) => book::book(loaded, output, &message, symbol),
        },
        "tickers" => tickers.read(loaded, output, &message, rest),
        "allLiquidation" => liquidation::liquidations(loaded, output, &message, rest),
        "kline" | "liquidation" => ignored(output, Ignored::NotNeeded),
        _ => ignored(output, Ignored::UnknownKind),
    }
}

fn ignored(output: &mut Output, reason: Ignored) -> ParseResult<()> {
    output.ignored(reason);
    Ok(())
}
