use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::answers;
use marketprism_adapter_sdk::{Adapter, DataType, Feed, MarketType, RankingKey, decimal};

const BY: RankingKey = RankingKey::Volume24h;

fn feed(market_types: &[MarketType]) -> Feed {
    let (market_types, data_types) = (market_types.to_vec(), vec![DataType::Trade]);
    Feed { market_types, data_types, ..crate::feed("deribit_derivatives", &[]) }
}

#[test]
fn summaries_are_requested_by_currency_and_kind() {
    let asked = |market_types: &[MarketType]| -> Vec<String> {
        let requests = Deribit::ranking_requests(&feed(market_types), BY, &[]).unwrap();
        assert!(requests.iter().all(|request| request.charges[0].budget == "deribit_derivatives.requests"));
        requests.iter().map(|request| request.url.split_once('?').unwrap().1.to_owned()).collect()
    };
    let of = |kind: &str| {
        ["BTC", "ETH", "USDC", "USDT", "EURR"].map(|coin| format!("currency={coin}&kind={kind}"))
    };
    assert_eq!(asked(&[]), of("future"));
    assert_eq!(asked(&[MarketType::Options]), of("option"));
    assert_eq!(asked(&[MarketType::Perpetual, MarketType::Options]), [of("future"), of("option")].concat());
}

/// After the documented form.
#[test]
fn instruments_are_ranked_by_their_volume_in_usd() {
    let summaries = r#"{"jsonrpc":"2.0","result":[
        {"volume_usd":93.35,"volume":0.55,"open_interest":0.55,"instrument_name":"ETH-22FEB19-140-P","quote_currency":"ETH"},
        {"volume_usd":null,"volume":0,"instrument_name":"ETH-PERPETUAL"}]}"#;
    let rows = Deribit::ranking(&feed(&[]), BY, answers([summaries])).unwrap();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.venue_symbol.as_str(), row.currency.as_deref()), ("ETH-22FEB19-140-P", Some("USD")));
    assert_eq!(decimal::to_text(row.value), "93.35");
    let busy = r#"{"jsonrpc":"2.0","error":{"message":"too_many_requests","code":10028}}"#;
    assert_eq!(Deribit::ranking(&feed(&[]), BY, answers([busy])).unwrap_err().value, "too_many_requests");
}
