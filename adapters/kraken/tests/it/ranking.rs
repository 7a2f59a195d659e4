use crate::{feed, records};
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_sdk::testkit::answers;
use marketprism_adapter_sdk::{Adapter, RankingKey, decimal};

/// Tickers after the documented form: today, then the last 24 hours.
#[test]
fn tickers_are_translated_to_the_names_of_the_sockets_and_ranked_by_volume_times_average_price() {
    let (by, feed) = (RankingKey::Volume24h, feed("kraken_spot", &[]));
    let requests = Kraken::ranking_requests(&feed, by, &[]).unwrap();
    let urls: Vec<&str> = requests.iter().map(|request| request.url.as_str()).collect();
    assert_eq!(urls, ["AssetPairs", "Ticker"].map(|list| format!("https://api.kraken.com/0/public/{list}")));
    let tickers = r#"{"error":[],"result":{
        "XXBTZUSD":{"a":["30300.10000","1","1.000"],"v":["4083.67001100","4412.73601799"],"p":["30706.77771","30689.13205"],"t":[34619,38907]},
        "XDGUSD":{"v":["1.0","2.0"],"p":["0.5","0.25"]},
        "XETHZUSD":{"v":["1.0"],"p":["0.5"]},
        "UNLISTED":{"v":["1.0","2.0"],"p":["0.5","0.25"]}}}"#;
    let pairs = &records("kraken_spot")[0].data;
    let rows = Kraken::ranking(&feed, by, answers([pairs.as_str(), tickers])).unwrap();
    let mut rows: Vec<(&str, String)> =
        rows.iter().map(|row| (row.venue_symbol.as_str(), decimal::to_text(row.value))).collect();
    rows.sort();
    assert_eq!(rows, [("BTC/USD", "135423038.3578862855".to_owned()), ("DOGE/USD", "0.5".to_owned())]);
    let busy = r#"{"error":["EService:Busy"]}"#;
    assert!(Kraken::ranking(&feed, by, answers([pairs.as_str(), busy])).is_err());
}
