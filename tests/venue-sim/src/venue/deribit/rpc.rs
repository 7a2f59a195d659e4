//! JSON-RPC 2.0 answers, the same on sockets and REST.

use serde_json::Value;

pub(super) const TOO_MANY: &str = r#"{"code":10028,"message":"too_many_requests","data":null}"#;
pub(super) const RAW_REFUSED: &str =
    r#"{"code":13778,"message":"raw_subscriptions_not_available_for_unauthorized"}"#;
pub(super) const NO_METHOD: &str = r#"{"code":-32601,"message":"Method not found"}"#;
pub(super) const NO_JSON: &str = r#"{"code":-32700,"message":"Parse error"}"#;

pub(super) fn bad_parameter(name: &str, reason: &str) -> String {
    let data = format!(r#"{{"reason":"{reason}","param":"{name}"}}"#);
    format!(r#"{{"code":-32602,"message":"Invalid params","data":{data}}}"#)
}

pub(super) fn result(id: Option<&Value>, now_ms: i64, result: &str) -> String {
    answer(id, now_ms, "result", result)
}

pub(super) fn error(id: Option<&Value>, now_ms: i64, error: &str) -> String {
    answer(id, now_ms, "error", error)
}

fn answer(id: Option<&Value>, now_ms: i64, name: &str, what: &str) -> String {
    let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let (came, took) = (now_ms * 1000, 581);
    let times = format!(r#""usIn":{came},"usOut":{},"usDiff":{took},"testnet":false"#, came + took);
    format!(r#"{{"jsonrpc":"2.0",{id}"{name}":{what},{times}}}"#)
}
