//! The trait that an adapter implements, and its export as a component.

use crate::types::{
    Answer, Description, Feed, Frames, Instrument, Normalized, Plan, Ranked, RankingKey, Refusal, Request,
    TradeRange,
};

/// The contract's functions, implemented by [`VenueInstance`](crate::VenueInstance). Each is a pure function of its input.
pub trait Adapter: Sized + 'static {
    /// Name, version, exchange ids and capabilities.
    fn describe() -> Description;

    /// The requests whose answers [`Adapter::instruments`] needs for this feed. Called first without answers, then with all answers so
    /// far until no request is left, so that pages can be followed.
    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal>;

    /// The instruments of the feed, in a fixed order. Takes the answers by value: they can be large.
    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal>;

    /// As [`Adapter::instrument_requests`], for [`Adapter::ranking`].
    fn ranking_requests(feed: &Feed, by: RankingKey, answers: &[Answer]) -> Result<Vec<Request>, Refusal>;

    /// The venue's instruments with their values, in any order.
    fn ranking(feed: &Feed, by: RankingKey, answers: Vec<Answer>) -> Result<Vec<Ranked>, Refusal>;

    /// An instance for this feed: from here on an instrument is named by its position in the list.
    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Self, Refusal>;

    /// Connections, polls, resyncs and budgets of the feed.
    fn plan(&self) -> Result<Plan, Refusal>;

    /// The request whose answer holds trades of the range, or a first page of them.
    fn backfill(&self, trades: TradeRange) -> Result<Request, Refusal>;

    /// Turns frames into events and notes.
    fn normalize(&mut self, frames: &Frames) -> Normalized;
}

/// Exports a type that implements [`Adapter`] as the component. No effect in a native build.
#[macro_export]
macro_rules! export_adapter {
    ($adapter:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs)]
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static LOADED: ::core::cell::RefCell<Option<$adapter>> =
                    const { ::core::cell::RefCell::new(None) };
            }

            impl $crate::bindings::exports::marketprism::adapter::adapter::Guest for Component {
                fn describe() -> $crate::Description {
                    <$adapter as $crate::Adapter>::describe()
                }

                fn instrument_requests(
                    feed: $crate::Feed,
                    answers: Vec<$crate::Answer>,
                ) -> Result<Vec<$crate::Request>, $crate::Refusal> {
                    <$adapter as $crate::Adapter>::instrument_requests(&feed, &answers)
                }

                fn instruments(
                    feed: $crate::Feed,
                    answers: Vec<$crate::Answer>,
                ) -> Result<Vec<$crate::Instrument>, $crate::Refusal> {
                    <$adapter as $crate::Adapter>::instruments(&feed, answers)
                }

                fn ranking_requests(
                    feed: $crate::Feed,
                    by: $crate::RankingKey,
                    answers: Vec<$crate::Answer>,
                ) -> Result<Vec<$crate::Request>, $crate::Refusal> {
                    <$adapter as $crate::Adapter>::ranking_requests(&feed, by, &answers)
                }

                fn ranking(
                    feed: $crate::Feed,
                    by: $crate::RankingKey,
                    answers: Vec<$crate::Answer>,
                ) -> Result<Vec<$crate::Ranked>, $crate::Refusal> {
                    <$adapter as $crate::Adapter>::ranking(&feed, by, answers)
                }

                fn load(
                    feed: $crate::Feed,
                    instruments: Vec<$crate::Instrument>,
                ) -> Result<(), $crate::Refusal> {
                    let loaded = <$adapter as $crate::Adapter>::load(feed, instruments)?;
                    LOADED.set(Some(loaded));
                    Ok(())
                }

                fn plan() -> Result<$crate::Plan, $crate::Refusal> {
                    LOADED.with_borrow(|loaded| match loaded {
                        Some(adapter) => $crate::Adapter::plan(adapter),
                        None => Err($crate::refusal("plan", "not loaded", "a call of `load` first")),
                    })
                }

                fn backfill(trades: $crate::TradeRange) -> Result<$crate::Request, $crate::Refusal> {
                    LOADED.with_borrow(|loaded| match loaded {
                        Some(adapter) => $crate::Adapter::backfill(adapter, trades),
                        None => Err($crate::refusal("backfill", "not loaded", "a call of `load` first")),
                    })
                }

                fn normalize(frames: $crate::Frames) -> $crate::Normalized {
                    LOADED.with_borrow_mut(|loaded| match loaded {
                        Some(adapter) => $crate::Adapter::normalize(adapter, &frames),
                        None => $crate::not_loaded(&frames),
                    })
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
