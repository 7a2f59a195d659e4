//! Matches recorded answers to requests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use marketprism_adapter_host::contract::{Answer, Feed, Request};
use marketprism_adapter_host::{InstrumentRounds, Limits, Sandbox};
use marketprism_schema::RecordingKind;
use url::Url;

use super::recording::Recordings;

/// Parameters in which instrument lists of one path differ: contents, and page.
const KEY_PARAMETERS: [&str; 9] =
    ["symbol", "instId", "instrument_name", "currency", "instType", "category", "kind", "cursor", "uly"];

/// Parameters that adapters of before named otherwise, with the name of today: recordings stay readable.
const RENAMED: [(&str, &str); 1] = [("instFamily", "uly")];

pub(super) fn instrument_answers(
    adapter: &mut Sandbox,
    feed: &Feed,
    limits: &Limits,
    recordings: &Recordings,
) -> anyhow::Result<Vec<Answer>> {
    let mut rounds = InstrumentRounds::new(limits);
    loop {
        let requests = rounds.next(adapter, feed)?;
        if requests.is_empty() {
            break;
        }
        let bodies = recorded(&requests, recordings)?;
        let before = rounds.answers().len();
        let mut missing = Vec::new();
        for (position, (bodies, request)) in bodies.into_iter().zip(&requests).enumerate() {
            if bodies.is_empty() {
                missing.push(request.url.as_str());
            }
            for body in bodies {
                rounds.answer(position, body)?;
            }
        }
        if rounds.answers().is_empty() {
            bail!("the recording has no answer to the adapter's instrument requests: {}", missing.join(", "));
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            tracing::warn!(
                missing,
                "the recording lacks answers to instrument requests, instruments may be missing"
            );
        }
        if rounds.answers().len() == before {
            break;
        }
    }
    Ok(rounds.into_answers())
}

/// A cheap check before parsing: true for all answers to requests, and for some other lines.
pub(super) fn may_be_answer(text: &str) -> bool {
    let head = text.get(..text.len().min(512)).unwrap_or(text);
    head.contains("\"rest\"")
}

/// Per request: the newest answer to the same request before the time, or else the first one, or else all answers to requests for a part of it, such as the lists of single
/// currencies for the list of any currency.
fn recorded(requests: &[Request], recordings: &Recordings) -> anyhow::Result<Vec<Vec<Vec<u8>>>> {
    let matcher = RequestMatcher::new(requests.iter().map(|request| request.url.as_str()), &KEY_PARAMETERS);
    let mut exact: Vec<Option<Vec<u8>>> = vec![None; requests.len()];
    let mut loose: Vec<Vec<Vec<u8>>> = vec![Vec::new(); requests.len()];
    let from_ns = recordings.span().from_ns;
    recordings.each(may_be_answer, |_, _, line| {
        let (Some(url), Some(data), RecordingKind::Rest) = (line.url.as_deref(), &line.data, line.kind)
        else {
            return Ok(());
        };
        let body = || data.as_bytes().to_vec();
        match matcher.find(url).and_then(|index| exact.get_mut(index)) {
            Some(found) if line.at <= from_ns => *found = Some(body()),
            Some(found) => {
                found.get_or_insert_with(body);
            }
            None => {
                for (request, found) in requests.iter().zip(&mut loose) {
                    if is_part_of(&request.url, url, &KEY_PARAMETERS) {
                        found.push(body());
                    }
                }
            }
        }
        Ok(())
    })?;
    let chosen = |(exact, loose): (Option<Vec<u8>>, Vec<Vec<u8>>)| exact.map_or(loose, |body| vec![body]);
    Ok(exact.into_iter().zip(loose).map(chosen).collect())
}

/// Value of a parameter that includes every other value.
const ANY: &str = "any";

/// Parameter for a page of a list.
const PAGE: &str = "cursor";

/// Requests match by path and by the parameters that identify them: key parameters, and those in which requests of one path differ.
/// Host and other parameters are ignored: a recording may come from another server, or have another depth.
#[derive(Debug)]
pub(super) struct RequestMatcher {
    requests: Vec<RequestKey>,
    /// Identifying parameters per path.
    identifying: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct RequestKey {
    path: String,
    parameters: BTreeMap<String, String>,
}

impl RequestKey {
    fn parse(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let renamed = |key: &str| RENAMED.iter().find(|(before, _)| *before == key).map(|(_, now)| *now);
        let parameters = url
            .query_pairs()
            .map(|(key, value)| (renamed(&key).unwrap_or(&*key).to_owned(), value.into_owned()));
        Some(Self { path: url.path().to_owned(), parameters: parameters.collect() })
    }
}

impl RequestMatcher {
    /// An address that is no URL matches nothing.
    pub(super) fn new<'a>(urls: impl Iterator<Item = &'a str>, keys: &[&str]) -> Self {
        let empty = || RequestKey { path: String::new(), parameters: BTreeMap::new() };
        let requests: Vec<RequestKey> =
            urls.map(|url| RequestKey::parse(url).unwrap_or_else(empty)).collect();
        let mut values: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for request in &requests {
            let of_path = values.entry(&request.path).or_default();
            for (name, value) in &request.parameters {
                of_path.entry(name).or_default().insert(value);
            }
        }
        let differing = |parameters: BTreeMap<&str, BTreeSet<&str>>| -> BTreeSet<String> {
            let differing = parameters.into_iter().filter(|(_, values)| values.len() > 1);
            differing.map(|(name, _)| name).chain(keys.iter().copied()).map(str::to_owned).collect()
        };
        let identifying =
            values.into_iter().map(|(path, parameters)| (path.to_owned(), differing(parameters))).collect();
        Self { requests, identifying }
    }

    /// Position of the request that an answer from this address belongs to.
    pub(super) fn find(&self, url: &str) -> Option<usize> {
        let answer = RequestKey::parse(url)?;
        self.requests.iter().position(|request| self.fits(request, &answer))
    }

    fn fits(&self, request: &RequestKey, answer: &RequestKey) -> bool {
        // A server may serve a venue's paths below a prefix.
        let same_path = !request.path.is_empty() && answer.path.ends_with(&request.path);
        let Some(identifying) = self.identifying.get(&request.path).filter(|_| same_path) else {
            return false;
        };
        identifying.iter().all(|name| request.parameters.get(name) == answer.parameters.get(name))
    }
}

/// True if an answer is (a part of) the answer to a request: same path, same page, and no parameter among `keys` with another value.
fn is_part_of(request: &str, answer: &str, keys: &[&str]) -> bool {
    let (Some(request), Some(answer)) = (RequestKey::parse(request), RequestKey::parse(answer)) else {
        return false;
    };
    let agree = |name: &&str| match (request.parameters.get(*name), answer.parameters.get(*name)) {
        (Some(asked), Some(given)) => asked == given || asked == ANY,
        (None, None) => true,
        _ => *name != PAGE,
    };
    !request.path.is_empty() && answer.path.ends_with(&request.path) && keys.iter().all(agree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_matches_the_request_of_its_path_and_symbol_whatever_its_host_prefix_and_depth() {
        let urls = [
            "https://a.example/api/v3/depth?symbol=AB&limit=5000",
            "https://a.example/api/v3/depth?symbol=CD&limit=5000",
            "https://a.example/api/v5/instruments?instType=SPOT",
            "https://a.example/api/v5/instruments?instType=SWAP",
            "https://a.example/api/v3/exchangeInfo",
        ];
        let requests = RequestMatcher::new(urls.into_iter(), &["symbol"]);
        for (url, found) in [
            ("http://127.0.0.1:9/sim_spot/api/v3/depth?symbol=CD&limit=1000", Some(1)),
            ("https://b.example/api/v3/depth?limit=10&symbol=AB", Some(0)),
            ("https://b.example/api/v3/depth?symbol=EF", None),
            ("https://b.example/api/v3/depth", None),
            ("https://b.example/api/v5/instruments?instType=SWAP&x=1", Some(3)),
            ("https://b.example/api/v5/instruments?instType=OPTION", None),
            ("https://b.example/api/v3/exchangeInfo?permissions=SPOT", Some(4)),
            ("https://b.example/xapi/v3/exchangeInfo", None),
            ("nonsense", None),
        ] {
            assert_eq!(requests.find(url), found, "{url}");
        }
    }

    /// Each list of today got the answers of all families, and each option was there as often as there are families.
    #[test]
    fn the_lists_of_a_recording_from_before_a_parameter_was_renamed_are_told_apart() {
        let lists = ["BTC-USD", "ETH-USD"];
        let lists = lists.map(|of| format!("https://a.example/instruments?instType=OPTION&uly={of}"));
        let requests = RequestMatcher::new(lists.iter().map(String::as_str), &KEY_PARAMETERS);
        let recorded = |family| format!("https://a.example/instruments?instType=OPTION&instFamily={family}");
        let found = ["BTC-USD", "ETH-USD", "SOL-USD"].map(|family| requests.find(&recorded(family)));
        assert_eq!(found, [Some(0), Some(1), None]);
        assert!(!is_part_of(&lists[0], &recorded("SOL-USD"), &KEY_PARAMETERS));
    }

    #[test]
    fn a_list_of_one_currency_is_a_part_of_the_list_of_any_but_no_page_or_kind_of_another() {
        let identifying = ["currency", "kind", "cursor"];
        let any = "https://a.example/get_instruments?currency=any&kind=future";
        for (request, answer, fits) in [
            (any, "https://a.example/get_instruments?currency=BTC&expired=false", true),
            (any, "https://a.example/get_instruments?currency=BTC&kind=option", false),
            (any, "https://a.example/get_instruments?currency=BTC&cursor=2", false),
            (any, "https://a.example/ticker?currency=BTC", false),
            (
                "https://a.example/get_instruments?currency=ETH",
                "https://a.example/get_instruments?currency=BTC",
                false,
            ),
        ] {
            assert_eq!(is_part_of(request, answer, &identifying), fits, "{answer}");
        }
    }
}
