//! Plans for tests, and the problems found in them.

use std::time::Duration;

use marketprism_adapter_host::contract::{
    Budget, Charge, Connection, DataStream, DataType, Heartbeat, Method, Plan, Poll, Request, Resubscription,
    Resync, ResyncAction, TimeWindow,
};
use marketprism_socket::{Budgets, FeedSockets, SocketError, SocketOptions};

use crate::venue::inputs_of;

pub fn connection(url: String) -> Connection {
    Connection {
        name: "public".to_owned(),
        url,
        headers: Vec::new(),
        on_open: Vec::new(),
        heartbeat: Heartbeat::Passive,
        idle_timeout_ms: 60_000,
        max_age_ms: 0,
        messages_max: 100,
        messages_window_ms: 1000,
        charges: Vec::new(),
        streams: Vec::new(),
    }
}

pub fn stream(expected_silence_ms: u32, resubscribe: &[&str]) -> DataStream {
    DataStream {
        data_type: DataType::Trade,
        instrument: Some(0),
        expected_silence_ms,
        resubscribe: resubscribe.iter().map(|text| (*text).to_owned()).collect(),
    }
}

pub fn request(url: String) -> Request {
    Request {
        method: Method::Get,
        url,
        headers: Vec::new(),
        body: None,
        charges: Vec::new(),
        timeout_ms: 5000,
    }
}

pub fn charged_request(url: String, budget: &str, units: u32) -> Request {
    Request { charges: vec![charge(budget, units)], ..request(url) }
}

pub fn charge(budget: &str, units: u32) -> Charge {
    Charge { budget: budget.to_owned(), units }
}

pub fn poll(url: String, period: Duration) -> Poll {
    let period_ms = u32::try_from(period.as_millis()).unwrap();
    Poll {
        request: request(url),
        data_type: DataType::OpenInterest,
        instrument: Some(0),
        period_ms,
        window: None,
        reference: false,
    }
}

/// From `from_ago_ms` to `to_ago_ms` before now, in parameters `start` and `end`.
pub fn window(from_ago_ms: u32, to_ago_ms: u32) -> Option<TimeWindow> {
    let (from_parameter, to_parameter) = ("start".to_owned(), "end".to_owned());
    Some(TimeWindow { from_parameter, to_parameter, from_ago_ms, to_ago_ms })
}

pub fn plan(connections: Vec<Connection>) -> Plan {
    Plan { connections, polls: Vec::new(), resyncs: Vec::new(), budgets: Vec::new(), clock: None }
}

#[tokio::test]
async fn every_problem_of_a_plan_is_named() {
    let mut first = connection("https://venue".to_owned());
    first.idle_timeout_ms = 0;
    first.on_open = vec!["hello".to_owned()];
    first.messages_max = 0;
    first.charges = vec![charge("connects", 3), charge("weight", 1)];
    let mut plan = plan(vec![first, connection("ws://venue".to_owned())]);
    plan.budgets = vec![Budget { name: "connects".to_owned(), units: 2, window_ms: 1000 }];
    let mut short = poll("http://venue?start=0".to_owned(), Duration::from_millis(500));
    short.window = window(1000, 501);
    plan.polls = vec![poll("http://venue".to_owned(), Duration::ZERO), short];
    let again = Resubscription { connection: 7, messages: Vec::new() };
    plan.resyncs =
        vec![Resync { instrument: 0, action: ResyncAction::Resubscribe(again), depth_limit: None }];
    let (sender, _receiver) = inputs_of(8);
    let refused = FeedSockets::start(&plan, SocketOptions::default(), Budgets::new(), sender);
    let Err(SocketError::Plan(problems)) = refused else { panic!("the plan was accepted") };
    let wanted = [
        "connections[0].url `https://venue`, allowed: ws or wss with a host",
        "connections[0].idle_timeout_ms 0, allowed: 1 or more",
        "connections[0].messages_max and messages_window_ms (0, 1000), allowed: 1 or more",
        "connections[0].charges take 3 of budget `connects`, allowed: at most 2",
        "connections[0].charges name budget `weight`, which the plan does not define",
        "connections[1].name `public`, allowed: not empty, unique",
        "polls[0].period_ms 0, allowed: 1 or more",
        "polls[1].window parameters [\"start\", \"end\"], allowed: two names that differ and that the url does not have",
        "polls[1].window from_ago_ms 1000 to to_ago_ms 501, allowed: no shorter than period_ms 500",
        "resyncs[0].connection 7, allowed: less than 2",
        "resyncs[0].messages is empty, allowed: 1 or more",
    ];
    assert_eq!(problems, wanted);
}
