//! MarketPrism adapter for Bybit spot and linear contracts.
