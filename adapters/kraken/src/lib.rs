//! MarketPrism adapter for Kraken spot.
