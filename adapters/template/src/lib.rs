//! MarketPrism adapter for the venue of the guide: copy this folder to begin an adapter.
