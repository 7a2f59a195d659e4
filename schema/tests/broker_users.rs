//! The example for servers of one's own is what `make up` writes.

#![allow(clippy::unwrap_used)]

use marketprism_schema::{BrokerUser, broker_authorization};

#[test]
fn the_shipped_example_is_up_to_date() {
    let users = [
        BrokerUser::central("$NATS_PASSWORD_CENTRAL"),
        BrokerUser::edge("edge-1", &["binance_spot", "okx_spot"], "$NATS_PASSWORD_EDGE_1"),
        BrokerUser::reader("reader", "$NATS_PASSWORD_READER"),
    ];
    let wanted = broker_authorization(&users);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nats/authorization.conf");
    if std::fs::read_to_string(path).unwrap_or_default() != wanted {
        std::fs::write(path, &wanted).unwrap();
        assert_eq!(wanted, "", "deploy/nats/authorization.conf was out of date; it is rewritten: commit it");
    }
}
