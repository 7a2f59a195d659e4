//! MarketPrism adapter for Deribit perpetuals, futures, options and volatility indices.
