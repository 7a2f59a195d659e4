//! The instruments of a recording: its answers to the adapter's instrument requests.

use std::path::PathBuf;

use anyhow::bail;
use marketprism_adapter_host::contract::{Answer, Request};
use marketprism_schema::Kind;

use super::recording::{Recordings, may_be_answer};
use super::targets::Targets;

/// The first recorded answer to each request.
pub(super) fn instrument_answers(requests: &[Request], paths: &[PathBuf]) -> anyhow::Result<Vec<Answer>> {
    let targets = Targets::new(requests.iter().map(|request| request.url.as_str()));
    let mut bodies: Vec<Option<Vec<u8>>> = vec![None; requests.len()];
    Recordings::new(paths).each(may_be_answer, |_, _, line| {
        let found = line.url.as_deref().filter(|_| line.kind == Kind::Rest).and_then(|url| targets.find(url));
        if let Some(body) = found.and_then(|index| bodies.get_mut(index)).filter(|body| body.is_none()) {
            *body = line.data.as_ref().map(|data| data.as_bytes().to_vec());
        }
        Ok(())
    })?;
    let mut answers = Vec::new();
    let mut missing = Vec::new();
    for (index, (body, request)) in bodies.into_iter().zip(requests).enumerate() {
        match body {
            Some(body) => answers.push(Answer { request: u32::try_from(index)?, body }),
            None => missing.push(request.url.as_str()),
        }
    }
    if answers.is_empty() && !missing.is_empty() {
        bail!(
            "the recording holds no answer to {}, which the adapter needs for its instruments",
            missing.join(", ")
        );
    }
    if !missing.is_empty() {
        tracing::warn!(
            missing = missing.join(", "),
            "the recording holds no answer, instruments may be missing"
        );
    }
    Ok(answers)
}
