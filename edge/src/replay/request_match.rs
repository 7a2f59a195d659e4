//! Which request a recorded answer belongs to.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

/// A parameter's value that includes every other.
const ANY: &str = "any";

/// Which page of a list a request asks for.
const PAGE: &str = "cursor";

/// Requests of one kind, told apart by path, by the parameters that always do and by those in which they differ. Host and the other
/// parameters do not count: a recording may come from another server, or have asked for another depth.
#[derive(Debug)]
pub(super) struct RequestMatcher {
    targets: Vec<RequestKey>,
    /// Per path: the parameters that tell its requests apart.
    telling: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug)]
struct RequestKey {
    path: String,
    parameters: BTreeMap<String, String>,
}

impl RequestKey {
    fn parse(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let parameters = url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned()));
        Some(Self { path: url.path().to_owned(), parameters: parameters.collect() })
    }
}

impl RequestMatcher {
    /// The requests in the order of their numbers, and the parameters that always tell them apart. Addresses that do not parse match
    /// nothing.
    pub(super) fn new<'a>(urls: impl Iterator<Item = &'a str>, always: &[&str]) -> Self {
        let empty = || RequestKey { path: String::new(), parameters: BTreeMap::new() };
        let targets: Vec<RequestKey> = urls.map(|url| RequestKey::parse(url).unwrap_or_else(empty)).collect();
        let mut values: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for target in &targets {
            let of_path = values.entry(&target.path).or_default();
            for (name, value) in &target.parameters {
                of_path.entry(name).or_default().insert(value);
            }
        }
        let differing = |parameters: BTreeMap<&str, BTreeSet<&str>>| -> BTreeSet<String> {
            let differing = parameters.into_iter().filter(|(_, values)| values.len() > 1);
            differing.map(|(name, _)| name).chain(always.iter().copied()).map(str::to_owned).collect()
        };
        let telling =
            values.into_iter().map(|(path, parameters)| (path.to_owned(), differing(parameters))).collect();
        Self { targets, telling }
    }

    /// The number of the request that an answer from this address belongs to.
    pub(super) fn find(&self, url: &str) -> Option<usize> {
        let answer = RequestKey::parse(url)?;
        self.targets.iter().position(|target| self.fits(target, &answer))
    }

    fn fits(&self, target: &RequestKey, answer: &RequestKey) -> bool {
        // A server may serve a venue's paths below a prefix.
        let same_path = !target.path.is_empty() && answer.path.ends_with(&target.path);
        let Some(telling) = self.telling.get(&target.path).filter(|_| same_path) else { return false };
        telling.iter().all(|name| target.parameters.get(name) == answer.parameters.get(name))
    }
}

/// Whether an answer holds (a part of) what a request asks for: the same path, the same page, and no parameter among `telling` with
/// another value.
pub(super) fn fits_loosely(request: &str, answer: &str, telling: &[&str]) -> bool {
    let (Some(request), Some(answer)) = (RequestKey::parse(request), RequestKey::parse(answer)) else {
        return false;
    };
    let agree = |name: &&str| match (request.parameters.get(*name), answer.parameters.get(*name)) {
        (Some(asked), Some(given)) => asked == given || asked == ANY,
        (None, None) => true,
        _ => *name != PAGE,
    };
    !request.path.is_empty() && answer.path.ends_with(&request.path) && telling.iter().all(agree)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an answer is given to the request of its path and symbol, whatever host, prefix and depth it was recorded with.
    #[test]
    fn answers_find_their_request() {
        let urls = [
            "https://a.example/api/v3/depth?symbol=AB&limit=5000",
            "https://a.example/api/v3/depth?symbol=CD&limit=5000",
            "https://a.example/api/v5/instruments?instType=SPOT",
            "https://a.example/api/v5/instruments?instType=SWAP",
            "https://a.example/api/v3/exchangeInfo",
        ];
        let targets = RequestMatcher::new(urls.into_iter(), &["symbol"]);
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
            assert_eq!(targets.find(url), found, "{url}");
        }
    }
    /// Goal: a list of any currency is found in the lists of single ones, but no page stands for another, and no kind for another.
    #[test]
    fn a_part_of_a_list_is_an_answer() {
        let telling = ["currency", "kind", "cursor"];
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
            assert_eq!(fits_loosely(request, answer, &telling), fits, "{answer}");
        }
    }
}
