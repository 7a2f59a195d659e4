//! marketprism-adapter-binance.
