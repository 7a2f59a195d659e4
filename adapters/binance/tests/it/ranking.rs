use crate::feed;
use marketprism_adapter_binance::Binance;
use marketprism_adapter_sdk::testkit::answers;
use marketprism_adapter_sdk::{Adapter, RankingKey, decimal};

#[test]
fn markets_are_ranked_by_the_tickers_turnover() {
    for (exchange, url, weight) in [
        ("binance_spot", "https://api.binance.com/api/v3/ticker/24hr?type=MINI", 80),
        ("binance_derivatives", "https://fapi.binance.com/fapi/v1/ticker/24hr", 40),
    ] {
        let feed = feed(exchange, &[]);
        let requests = Binance::ranking_requests(&feed, RankingKey::Volume24h, &[]).unwrap();
        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!((request.url.as_str(), request.charges[0].units), (url, weight));
        assert_eq!(request.charges[0].budget, format!("{exchange}.weight"));
        // After the documented form. The second volume has more digits than fit, the third row has none.
        let tickers = r#"[
            {"symbol":"BNBBTC","openPrice":"99.00000000","lastPrice":"4.00000200","volume":"8913.30000000","quoteVolume":"15.30000000","count":76},
            {"symbol":"SHIBIDR","quoteVolume":"152900432130123.12345678"},
            {"symbol":"NONE"}
        ]"#;
        let rows = Binance::ranking(&feed, RankingKey::Volume24h, answers([tickers])).unwrap();
        let rows: Vec<(&str, String, bool)> = rows
            .iter()
            .map(|row| (row.venue_symbol.as_str(), decimal::to_text(row.value), row.currency.is_none()))
            .collect();
        let expected = [("BNBBTC", "15.3"), ("SHIBIDR", "152900432130123.123")];
        assert_eq!(rows, expected.map(|(name, value)| (name, value.to_owned(), true)));
        for refused in ["", "{}", r#"{"code":-1003,"msg":"Too many requests"}"#, "[1]"] {
            assert!(Binance::ranking(&feed, RankingKey::Volume24h, answers([refused])).is_err(), "{refused}");
        }
    }
}
