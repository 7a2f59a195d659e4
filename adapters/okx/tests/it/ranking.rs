use crate::without_options;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::answers;
use marketprism_adapter_sdk::{Adapter, DataType, Feed, MarketType, RankingKey, decimal};

const BY: RankingKey = RankingKey::Volume24h;

#[test]
fn tickers_are_requested_by_type() {
    let asked = |exchange: &str, market_types: &[MarketType]| -> Vec<String> {
        let feed = Feed {
            market_types: market_types.to_vec(),
            data_types: vec![DataType::Trade],
            ..without_options(exchange, &[])
        };
        let requests = Okx::ranking_requests(&feed, BY, &[]).unwrap();
        assert!(requests.iter().all(|request| request.charges[0].budget == "okx.tickers"));
        assert!(Okx::ranking_requests(&feed, BY, &answers(["{}"])).unwrap().is_empty());
        let kind = |url: &str| {
            url.strip_prefix("https://www.okx.com/api/v5/market/tickers?instType=").unwrap().to_owned()
        };
        requests.iter().map(|request| kind(&request.url)).collect()
    };
    assert_eq!(asked("okx_spot", &[]), ["SPOT"]);
    assert_eq!(asked("okx_derivatives", &[]), ["SWAP", "FUTURES"]);
    assert_eq!(asked("okx_derivatives", &[MarketType::Futures]), ["FUTURES"]);
    assert_eq!(asked("okx_derivatives", &[MarketType::Perpetual]), ["SWAP", "FUTURES"], "X-Perps");
    assert_eq!(asked("okx_derivatives", &[MarketType::Options]), ["OPTION"]);
}

/// After the documented form.
#[test]
fn volumes_of_contracts_are_in_coins_and_their_turnover_is_not() {
    let tickers = r#"{"code":"0","msg":"","data":[
        {"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","vol24h":"2222","volCcy24h":"22220000.5","ts":"1597026383085"},
        {"instType":"SWAP","instId":"BTC-USDT-SWAP","last":"50000.5","vol24h":"300","volCcy24h":"3","ts":"1597026383085"},
        {"instType":"OPTION","instId":"BTC-USD-251226-100000-C","last":"0.01","vol24h":"1200","volCcy24h":"12"},
        {"instType":"SWAP","instId":"NEW-USDT-SWAP","last":"","vol24h":"0","volCcy24h":"0"}
    ]}"#;
    let rows = Okx::ranking(&without_options("okx_derivatives", &[]), BY, answers([tickers])).unwrap();
    let rows: Vec<(&str, String, Option<&str>)> = rows
        .iter()
        .map(|row| (row.venue_symbol.as_str(), decimal::to_text(row.value), row.currency.as_deref()))
        .collect();
    let expected = [
        ("BTC-USDT", "22220000.5", None),
        ("BTC-USDT-SWAP", "150001.5", None),
        ("BTC-USD-251226-100000-C", "12", Some("BTC")),
    ];
    assert_eq!(rows, expected.map(|(name, value, currency)| (name, value.to_owned(), currency)));
    let busy = r#"{"code":"50011","data":[],"msg":"Too Many Requests"}"#;
    let refusal = Okx::ranking(&without_options("okx_spot", &[]), BY, answers([busy])).unwrap_err();
    assert!(refusal.value.contains("50011"), "{refusal:?}");
}
