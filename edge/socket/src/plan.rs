//! Checks that a plan can be carried out; reports every problem.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_adapter_host::contract::{
    Charge, Connection, Heartbeat, Plan, Poll, Request, ResyncAction, TimeWindow,
};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use url::Url;

use crate::error::SocketError;

pub(crate) fn check(plan: &Plan) -> Result<(), SocketError> {
    let limits = budget_units(plan);
    let mut checker = Checker { limits: &limits, problems: Vec::new() };
    checker.budgets(plan);
    checker.connections(plan);
    for (index, poll) in plan.polls.iter().enumerate() {
        checker.request(&format!("polls[{index}].request"), &poll.request);
        checker.least_one(&format!("polls[{index}].period_ms"), poll.period_ms);
        if let Some(window) = &poll.window {
            checker.window(&format!("polls[{index}].window"), window, poll);
        }
    }
    checker.resyncs(plan);
    let sources = plan.connections.len() + plan.polls.len() + plan.resyncs.len();
    if u32::try_from(sources).is_err() {
        checker.problems.push(format!("{sources} sources, allowed: at most {}", u32::MAX));
    }
    if checker.problems.is_empty() { Ok(()) } else { Err(SocketError::Plan(checker.problems)) }
}

pub(crate) type BudgetUnits = BTreeMap<String, u32>;

pub(crate) fn budget_units(plan: &Plan) -> BudgetUnits {
    plan.budgets.iter().map(|budget| (budget.name.clone(), budget.units)).collect()
}

pub(crate) fn check_follow_up(limits: &BudgetUnits, request: &Request) -> Vec<String> {
    let mut checker = Checker { limits, problems: Vec::new() };
    checker.request("follow_up", request);
    checker.problems
}

struct Checker<'a> {
    limits: &'a BudgetUnits,
    problems: Vec<String>,
}

impl Checker<'_> {
    fn budgets(&mut self, plan: &Plan) {
        let mut names = BTreeSet::new();
        for (index, budget) in plan.budgets.iter().enumerate() {
            self.least_one(&format!("budgets[{index}].units"), budget.units);
            self.least_one(&format!("budgets[{index}].window_ms"), budget.window_ms);
            if !names.insert(&budget.name) {
                self.problems.push(format!("budgets[{index}].name `{}` stands twice", budget.name));
            }
        }
    }

    /// A window shorter than its period would leave holes. Jitter and late rounds are covered by the edge.
    fn window(&mut self, at: &str, window: &TimeWindow, poll: &Poll) {
        let names = [&window.from_parameter, &window.to_parameter];
        let taken = |name: &String| {
            let url = Url::parse(&poll.request.url).ok();
            url.is_some_and(|url| url.query_pairs().any(|(found, _)| found == name.as_str()))
        };
        if names.iter().any(|name| name.is_empty() || taken(name)) || names[0] == names[1] {
            self.problems.push(format!(
                "{at} parameters {names:?}, allowed: two names that differ and that the url does not have"
            ));
        }
        let length = window.from_ago_ms.saturating_sub(window.to_ago_ms);
        if length == 0 || length < poll.period_ms {
            let (from, to, period) = (window.from_ago_ms, window.to_ago_ms, poll.period_ms);
            self.problems.push(format!(
                "{at} from_ago_ms {from} to to_ago_ms {to}, allowed: no shorter than period_ms {period}"
            ));
        }
    }

    fn connections(&mut self, plan: &Plan) {
        let mut names = BTreeSet::new();
        for (index, connection) in plan.connections.iter().enumerate() {
            let at = format!("connections[{index}]");
            if connection.name.is_empty() || !names.insert(&connection.name) {
                self.problems.push(format!("{at}.name `{}`, allowed: not empty, unique", connection.name));
            }
            self.url(&format!("{at}.url"), &connection.url, &["ws", "wss"]);
            self.headers(&at, &connection.headers);
            self.least_one(&format!("{at}.idle_timeout_ms"), connection.idle_timeout_ms);
            match &connection.heartbeat {
                Heartbeat::Passive => {}
                Heartbeat::PingFrame(every) => self.least_one(&format!("{at}.heartbeat"), *every),
                Heartbeat::Text(text) => self.least_one(&format!("{at}.heartbeat.every_ms"), text.every_ms),
            }
            let sends = sends_texts(connection) || resubscribes(plan, index);
            if sends && (connection.messages_max == 0 || connection.messages_window_ms == 0) {
                let limit = (connection.messages_max, connection.messages_window_ms);
                self.problems.push(format!(
                    "{at}.messages_max and messages_window_ms {limit:?}, allowed: 1 or more if it sends"
                ));
            }
            self.charges(&at, &connection.charges);
        }
    }

    fn resyncs(&mut self, plan: &Plan) {
        for (index, resync) in plan.resyncs.iter().enumerate() {
            let at = format!("resyncs[{index}]");
            match &resync.action {
                ResyncAction::Request(request) => self.request(&format!("{at}.request"), request),
                ResyncAction::Resubscribe(again) => {
                    if again.connection as usize >= plan.connections.len() {
                        let count = plan.connections.len();
                        let connection = again.connection;
                        self.problems
                            .push(format!("{at}.connection {connection}, allowed: less than {count}"));
                    }
                    if again.messages.is_empty() {
                        self.problems.push(format!("{at}.messages is empty, allowed: 1 or more"));
                    }
                }
            }
        }
    }

    fn request(&mut self, at: &str, request: &Request) {
        self.url(&format!("{at}.url"), &request.url, &["http", "https"]);
        self.headers(at, &request.headers);
        self.charges(at, &request.charges);
    }

    fn url(&mut self, at: &str, text: &str, schemes: &[&str]) {
        let good =
            Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.host_str().is_some());
        if !good {
            self.problems.push(format!("{at} `{text}`, allowed: {} with a host", schemes.join(" or ")));
        }
    }

    fn headers(&mut self, at: &str, headers: &[(String, String)]) {
        for (name, value) in headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
                self.problems.push(format!("{at}.headers `{name}: {value}` is no http header"));
            }
        }
    }

    fn charges(&mut self, at: &str, charges: &[Charge]) {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for charge in charges {
            *sums.entry(charge.budget.as_str()).or_insert(0) += u64::from(charge.units);
        }
        for (budget, units) in sums {
            match self.limits.get(budget) {
                None => self
                    .problems
                    .push(format!("{at}.charges name budget `{budget}`, which the plan does not define")),
                Some(limit) if units > u64::from(*limit) => {
                    self.problems.push(format!(
                        "{at}.charges take {units} of budget `{budget}`, allowed: at most {limit}"
                    ));
                }
                Some(_) => {}
            }
        }
    }

    fn least_one(&mut self, at: &str, value: u32) {
        if value == 0 {
            self.problems.push(format!("{at} 0, allowed: 1 or more"));
        }
    }
}

fn sends_texts(connection: &Connection) -> bool {
    !connection.on_open.is_empty()
        || !matches!(connection.heartbeat, Heartbeat::Passive)
        || connection.streams.iter().any(|stream| !stream.resubscribe.is_empty())
}

fn resubscribes(plan: &Plan, connection: usize) -> bool {
    plan.resyncs.iter().any(|resync| match &resync.action {
        ResyncAction::Resubscribe(again) => again.connection as usize == connection,
        ResyncAction::Request(_) => false,
    })
}
