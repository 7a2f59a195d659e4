use marketprism_adapter_host::contract::{self, Connection, DataStream, Heartbeat};
use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{Engine, Limits};
use marketprism_socket::{Budgets, InputBounds, SocketOptions, input_queue};

use super::*;
use crate::feed::fixtures::spot;
use crate::feed::parts::key_of;

/// Trades of each instrument on one connection.
fn plan(instruments: u32) -> Plan {
    let stream = |instrument| DataStream {
        data_type: contract::DataType::Trade,
        instrument: Some(instrument),
        expected_silence_ms: 60_000,
        resubscribe: Vec::new(),
    };
    let connection = Connection {
        name: "trades".to_owned(),
        url: "ws://127.0.0.1:1/".to_owned(),
        headers: Vec::new(),
        on_open: Vec::new(),
        heartbeat: Heartbeat::Passive,
        idle_timeout_ms: 60_000,
        max_age_ms: 0,
        messages_max: 1,
        messages_window_ms: 1,
        charges: Vec::new(),
        streams: (0..instruments).map(stream).collect(),
    };
    Plan {
        connections: vec![connection],
        polls: Vec::new(),
        resyncs: Vec::new(),
        budgets: Vec::new(),
        clock: None,
    }
}

/// The silence of such a stream would replace its connection for ever, and touch its neighbours each time.
#[tokio::test]
async fn silence_is_watched_of_instruments_that_trade_and_whose_streams_have_not_ended() {
    let adapter = component(FixtureKind::WellBehaved);
    let adapter = Adapter::from_bytes(&Engine::new(None).unwrap(), &adapter, &Limits::default()).unwrap();
    let mut instruments = [spot("A-X"), spot("B-X"), spot("C-X")];
    instruments[2].trading = false;
    let (plan, status) = (plan(3), FeedStatus::new("sim_spot", &[DataType::Trade], adapter.clone()));
    let (sender, _inputs) = input_queue(InputBounds { events: 8, bytes: 1 << 20 });
    let sockets = FeedSockets::start(&plan, SocketOptions::default(), Budgets::default(), sender).unwrap();
    let sockets = Arc::new(sockets);
    let watched = || {
        let streams = sockets.status().remove(0).streams;
        streams.iter().map(|stream| stream.expected).collect::<Vec<_>>()
    };
    assert_eq!(watched(), [true; 3]);
    status.set_running(adapter, &instruments, Arc::clone(&sockets), Arc::default(), &plan);
    assert_eq!(watched(), [true, true, false], "one does not trade when the part starts");
    status.set_not_trading(&[key_of(&instruments[1])].into());
    assert_eq!(watched(), [true, false, true]);
    status.end_instruments(&[key_of(&instruments[0])], InstrumentEnd::Moved);
    status.set_not_trading(&BTreeSet::new());
    assert_eq!(watched(), [false, true, true], "what has ended in this part stays so");
}
