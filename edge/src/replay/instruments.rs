//! Recorded answers to the adapter's instrument requests.

use std::path::PathBuf;

use anyhow::bail;
use marketprism_adapter_host::contract::{Answer, Feed, Request};
use marketprism_adapter_host::{InstrumentRounds, Limits, Sandbox};
use marketprism_schema::Kind;

use super::recording::{Recordings, may_be_answer};
use super::request_match::{RequestMatcher, is_part_of};

/// Parameters in which instrument lists of one path differ: contents, and page.
const KEY_PARAMETERS: [&str; 9] =
    ["symbol", "instId", "instrument_name", "currency", "instType", "category", "kind", "cursor", "uly"];

pub(super) fn instrument_answers(
    adapter: &mut Sandbox,
    feed: &Feed,
    limits: &Limits,
    paths: &[PathBuf],
) -> anyhow::Result<Vec<Answer>> {
    let mut rounds = InstrumentRounds::new(limits);
    loop {
        let requests = rounds.next(adapter, feed)?;
        if requests.is_empty() {
            break;
        }
        let bodies = recorded(&requests, paths)?;
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

/// Per request: the first answer to the same request, or else all answers to requests for a part of it, such as the lists of single
/// currencies for the list of any currency.
fn recorded(requests: &[Request], paths: &[PathBuf]) -> anyhow::Result<Vec<Vec<Vec<u8>>>> {
    let matcher = RequestMatcher::new(requests.iter().map(|request| request.url.as_str()), &KEY_PARAMETERS);
    let mut exact: Vec<Option<Vec<u8>>> = vec![None; requests.len()];
    let mut loose: Vec<Vec<Vec<u8>>> = vec![Vec::new(); requests.len()];
    Recordings::new(paths).each(may_be_answer, |_, _, line| {
        let (Some(url), Some(data), Kind::Rest) = (line.url.as_deref(), &line.data, line.kind) else {
            return Ok(());
        };
        let body = || data.as_bytes().to_vec();
        match matcher.find(url).and_then(|index| exact.get_mut(index)) {
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
