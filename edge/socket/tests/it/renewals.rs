//! Planned renewals of many connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use marketprism_socket::{Budgets, CloseReason, FeedSockets, SocketEvent};
use tokio::sync::mpsc;

use crate::overlap::numbered;
use crate::plans::{connection, plan};
use crate::venue::{next, quick, stop};

#[tokio::test]
async fn connections_opened_together_are_renewed_one_after_the_other() {
    const CONNECTIONS: usize = 12;
    let (server, _ticker) = numbered(Duration::from_millis(2)).await;
    let connections = (0..CONNECTIONS).map(|number| {
        let mut one = connection(server.ws());
        one.name = format!("public-{number}");
        one.max_age_ms = 3000;
        one
    });
    let (sender, mut inputs) = mpsc::channel(256);
    let plan = plan(connections.collect());
    let sockets = FeedSockets::start(&plan, quick(), Budgets::new(), sender).unwrap();
    let mut seen = vec![BTreeSet::new(); CONNECTIONS];
    let mut open = BTreeMap::new();
    let (mut renewals, mut most) = (0, 0);
    while renewals < 3 * CONNECTIONS {
        match next(&mut inputs).await {
            SocketEvent::Opened { source, generation, at_ns, .. } => {
                open.insert((source, generation), at_ns);
                most = most.max(open.len());
            }
            SocketEvent::Closed { source, generation, reason, overlap, at_ns } => {
                assert_eq!((reason, overlap), (CloseReason::Renewed, true));
                let lived = at_ns - open.remove(&(source, generation)).unwrap();
                assert!(lived < 3_000_000_000, "connection {source} lived for {lived} ns");
                renewals += 1;
            }
            SocketEvent::Frame(frame) => {
                let number: u64 = std::str::from_utf8(&frame.data).unwrap().parse().unwrap();
                seen[frame.source.position()].insert(number);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    stop(sockets, &mut inputs).await;
    assert!(most <= CONNECTIONS + 3, "{} renewals at once", most - CONNECTIONS);
    for (source, numbers) in seen.iter().enumerate() {
        let (first, last) = (*numbers.first().unwrap(), *numbers.last().unwrap());
        let missing: Vec<u64> = (first..=last).filter(|number| !numbers.contains(number)).collect();
        assert!(missing.is_empty(), "connection {source} misses {missing:?} of {first}..={last}");
    }
}
