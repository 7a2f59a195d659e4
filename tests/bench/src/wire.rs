//! Wire forms: bytes per message, time to encode and to decode; time to validate an event, its id included.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use marketprism_schema::{Event, WireForm, validate_event};
use marketprism_tests::figures::Report;

use crate::sample::Sample;

/// Events per round, too many for the CPU's nearest cache.
const EVENTS: u64 = 500;
/// Rounds; the best counts because the machine is shared.
const ROUNDS: usize = 20;

/// Measures each form with trades and with books of 200 levels per side.
pub fn measure(report: &mut Report) -> Result<()> {
    for sample in [Sample::Trades, Sample::Books] {
        let events: Vec<Event<'_>> = (1..=EVENTS).map(|number| sample.event(number)).collect();
        for form in WireForm::ALL {
            one(report, sample, form, &events)?;
        }
        validate(report, sample, &events)?;
    }
    Ok(())
}

fn validate(report: &mut Report, sample: Sample, events: &[Event<'_>]) -> Result<()> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for event in events {
            validate_event(black_box(event), event.header.received_at_ns)?;
        }
        best = best.min(started.elapsed().as_secs_f64());
    }
    report.figure(format!("{}: validate", sample.name()), best / events.len() as f64 * 1e9, "ns");
    Ok(())
}

fn one(report: &mut Report, sample: Sample, form: WireForm, events: &[Event<'_>]) -> Result<()> {
    let mut payloads: Vec<Vec<u8>> = vec![Vec::new(); events.len()];
    let (mut encode, mut decode) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for (event, payload) in events.iter().zip(&mut payloads) {
            payload.clear();
            form.encode(black_box(event), payload);
        }
        encode = encode.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        for payload in &payloads {
            black_box(form.decode(black_box(payload))?);
        }
        decode = decode.min(started.elapsed().as_secs_f64());
    }
    let count = events.len() as f64;
    let bytes = payloads.iter().map(Vec::len).sum::<usize>() as f64 / count;
    let name = format!("wire, {} as {}", sample.name(), form.content_type());
    report.figure(format!("{name}: a message"), bytes, "bytes");
    report.figure(format!("{name}: write"), encode / count * 1e9, "ns");
    report.figure(format!("{name}: read"), decode / count * 1e9, "ns");
    Ok(())
}
