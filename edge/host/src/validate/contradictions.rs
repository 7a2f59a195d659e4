//! Contradictions within a plan, each with its place. Sizes and index ranges are checked in `plan`.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_service::mask;
use url::Url;

use crate::contract::{Budget, Charge, Heartbeat, Plan, Poll, Request, ResyncAction, TimeWindow};

/// Every contradiction in a plan.
pub fn plan_problems(plan: &Plan) -> Vec<String> {
    let mut checker = ContradictionChecker { budgets: Some(&plan.budgets), problems: Vec::new() };
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
    if let Some(clock) = &plan.clock {
        checker.request("clock.request", &clock.request);
        if !(clock.pointer.is_empty() || clock.pointer.starts_with('/')) {
            let pointer = &clock.pointer;
            checker
                .problems
                .push(format!("clock.pointer `{pointer}`, allowed: empty, or beginning with `/`"));
        }
    }
    let sources = plan.connections.len() + plan.polls.len() + plan.resyncs.len();
    if u32::try_from(sources).is_err() {
        checker.problems.push(format!("{sources} sources, allowed: at most {}", u32::MAX));
    }
    checker.problems
}

/// Every contradiction in a request, and to the budgets where they are known.
pub fn request_problems(at: &str, request: &Request, budgets: Option<&[Budget]>) -> Vec<String> {
    let mut checker = ContradictionChecker { budgets, problems: Vec::new() };
    checker.request(at, request);
    checker.problems
}

struct ContradictionChecker<'a> {
    budgets: Option<&'a [Budget]>,
    problems: Vec<String>,
}

impl ContradictionChecker<'_> {
    fn budgets(&mut self, plan: &Plan) {
        let mut names = BTreeSet::new();
        for (index, budget) in plan.budgets.iter().enumerate() {
            self.least_one(&format!("budgets[{index}].units"), budget.units);
            self.least_one(&format!("budgets[{index}].window_ms"), budget.window_ms);
            if !names.insert(&budget.name) {
                self.problems.push(format!("budgets[{index}].name `{}` is defined twice", budget.name));
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
            if connection.messages_max == 0 || connection.messages_window_ms == 0 {
                let limit = (connection.messages_max, connection.messages_window_ms);
                self.problems
                    .push(format!("{at}.messages_max and messages_window_ms {limit:?}, allowed: 1 or more"));
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
            let allowed = schemes.join(" or ");
            self.problems.push(format!("{at} `{}`, allowed: {allowed} with a host", mask(text)));
        }
    }

    fn headers(&mut self, at: &str, headers: &[(String, String)]) {
        // RFC 9110, sections 5.1 and 5.5, without bytes above ASCII.
        let in_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let in_value = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
        for (name, value) in headers {
            if name.is_empty() || !name.chars().all(in_name) || !value.chars().all(in_value) {
                self.problems.push(format!("{at}.headers `{name}: {value}` is not an HTTP header"));
            }
        }
    }

    fn charges(&mut self, at: &str, charges: &[Charge]) {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for charge in charges {
            *sums.entry(charge.budget.as_str()).or_insert(0) += u64::from(charge.units);
        }
        let Some(budgets) = self.budgets else { return };
        for (name, units) in sums {
            match budgets.iter().find(|budget| budget.name == name) {
                None => self
                    .problems
                    .push(format!("{at}.charges name budget `{name}`, which the plan does not define")),
                Some(budget) if units > u64::from(budget.units) => self.problems.push(format!(
                    "{at}.charges take {units} of budget `{name}`, allowed: at most {}",
                    budget.units
                )),
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
