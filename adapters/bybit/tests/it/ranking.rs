use crate::feed;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_sdk::testkit::answers;
use marketprism_adapter_sdk::{Adapter, RankingKey, decimal};

/// After the documented form.
#[test]
fn markets_are_ranked_by_the_tickers_turnover() {
    let by = RankingKey::Volume24h;
    for (exchange, category) in [("bybit_spot", "spot"), ("bybit_derivatives", "linear")] {
        let feed = feed(exchange, &[]);
        let requests = Bybit::ranking_requests(&feed, by, &[]).unwrap();
        let url = format!("https://api.bybit.com/v5/market/tickers?category={category}");
        assert_eq!(requests.iter().map(|request| &request.url).collect::<Vec<_>>(), [&url]);
        let tickers = r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[
            {"symbol":"BTCUSDT","lastPrice":"20533.13","turnover24h":"243765620.65899866","volume24h":"11801.27771"},
            {"symbol":"NEWUSDT","turnover24h":"","volume24h":"0"}]},"retExtInfo":{},"time":1673859087947}"#;
        let rows = Bybit::ranking(&feed, by, answers([tickers])).unwrap();
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.venue_symbol.as_str(), row.currency.as_deref()), ("BTCUSDT", None));
        assert_eq!(decimal::to_text(row.value), "243765620.65899866");
        let visits = r#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#;
        assert!(Bybit::ranking(&feed, by, answers([visits])).unwrap_err().value.contains("10006"));
    }
}
