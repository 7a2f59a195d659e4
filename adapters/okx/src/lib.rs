//! MarketPrism adapter for OKX spot, swaps, futures and options.
