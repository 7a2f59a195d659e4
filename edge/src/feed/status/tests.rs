use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_adapter_host::{Engine, Limits};
use marketprism_socket::{Budgets, InputBounds, SocketOptions, input_queue};

use super::*;
use crate::feed::fixtures::{connection, plan, spot};
use crate::feed::parts::key_of;

/// The silence of such a stream would replace its connection for ever, and touch its neighbours each time.
#[tokio::test]
async fn silence_is_watched_of_instruments_that_trade_and_whose_streams_have_not_ended() {
    let adapter = component(FixtureKind::WellBehaved);
    let adapter = Adapter::from_bytes(&Engine::new(None).unwrap(), &adapter, &Limits::default()).unwrap();
    let mut instruments = [spot("A-X"), spot("B-X"), spot("C-X")];
    instruments[2].trading = false;
    let plan = plan(vec![connection(&[Some(0), Some(1), Some(2)])], Vec::new());
    let status = FeedStatus::new("sim_spot", &[DataType::Trade], adapter.clone());
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
