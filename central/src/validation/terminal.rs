//! Validation, samples and the report of a long run as text.

use super::figures::{FlowRate, StreamFigures, TableFigures};
use super::longrun::LongRunReport;
use super::sample::Sample;
use super::throughput::{messages_between, rows_between};
use super::validate::Validation;
use crate::diagnose::{CheckVerdict, render_checks};
use crate::report::document::{TableContents, TableReport};
use crate::report::terminal::{Paint, clean, text_table};

impl Validation {
    pub fn render(&self, paint: Paint) -> String {
        let mut out = verdict(self.verdict, paint);
        out.push_str(&render_checks(&self.checks, paint));
        streams(&self.streams, paint, &mut out);
        let columns = "table,hot,recent,doubles,cold,recent,doubles,lag min";
        text_table("tables", columns, self.tables.iter().map(table_row), paint, &mut out);
        out
    }
}

impl LongRunReport {
    pub fn render(&self, paint: Paint) -> String {
        let mut out = verdict(self.verdict, paint);
        let early = if self.is_interrupted { ", stopped early" } else { "" };
        let period = format!("{} to {}: {} samples{early}", self.started_at, self.ended_at, self.samples);
        out.push_str(&format!("   {}\n", paint.with(Paint::SOFT, &period)));
        out.push_str(&render_checks(&self.checks, paint));
        streams(&self.streams, paint, &mut out);
        let stored = self.tables.iter().filter(|table| table.rows.total > 0);
        let row = |TableFigures { table, rows, doubles }: &TableFigures| {
            [vec![table.clone()], rates(rows), vec![doubles.to_string()]].concat()
        };
        text_table("tables", "table,rows,per second,least,most,doubles", stored.map(row), paint, &mut out);
        let memory = self.memory.iter().map(|memory| {
            let figures = [memory.first, memory.last, memory.max].map(mib);
            [vec![memory.process.clone()], figures.to_vec()].concat()
        });
        text_table("memory in MiB", "process,first,last,most", memory, paint, &mut out);
        out
    }
}

fn verdict(verdict: CheckVerdict, paint: Paint) -> String {
    let (word, colour) = match verdict {
        CheckVerdict::Passed => ("PASSED", Paint::GOOD),
        CheckVerdict::Failed => ("FAILED", Paint::BAD),
        CheckVerdict::Unknown => ("CANNOT TELL", Paint::UNKNOWN),
    };
    paint.with(colour, word) + "\n"
}

fn rates(rate: &FlowRate) -> Vec<String> {
    let FlowRate { total, per_second, per_second_min, per_second_max } = rate;
    vec![total.to_string(), per_second.to_string(), per_second_min.to_string(), per_second_max.to_string()]
}

fn streams(streams: &[StreamFigures], paint: Paint, out: &mut String) {
    let row = |stream: &StreamFigures| {
        let StreamFigures { pending_first, pending_last, pending_max, redelivered_max, .. } = stream;
        let counts = [pending_first, pending_last, pending_max, redelivered_max].map(u64::to_string);
        [vec![stream.stream.to_owned()], rates(&stream.messages), counts.to_vec()].concat()
    };
    let columns = "stream,messages,per second,least,most,pending,at the end,most,redelivered";
    text_table("streams", columns, streams.iter().map(row), paint, out);
}

fn table_row(table: &TableReport) -> Vec<String> {
    let side = |contents: &Option<TableContents>| match contents {
        Some(TableContents { rows, recent_rows, recent_duplicates, .. }) => {
            [rows, recent_rows, recent_duplicates].map(u64::to_string)
        }
        None => ["no answer", "-", "-"].map(str::to_owned),
    };
    let lag = table.lag_minutes.map_or("-".to_owned(), |lag| format!("{lag:.1}"));
    [vec![table.table.to_owned()], side(&table.hot).to_vec(), side(&table.cold).to_vec(), vec![lag]].concat()
}

fn mib(bytes: u64) -> String {
    (bytes >> 20).to_string()
}

/// One line per sample of a long run.
pub fn sample_line(before: Option<&Sample>, sample: &Sample) -> String {
    let seconds = before.map_or(f64::INFINITY, |before| (sample.seconds - before.seconds).max(f64::EPSILON));
    let rate =
        |count: Option<u64>| count.map_or("-".to_owned(), |count| format!("{:.1}", count as f64 / seconds));
    let messages = rate(before.and_then(|before| messages_between(before, sample)));
    let stored = rate(before.and_then(|before| rows_between(before, sample)));
    let pending: u64 = sample.streams.iter().map(|stream| stream.pending).sum();
    let lag = sample.cold_lag_seconds.map_or("-".to_owned(), |lag| format!("{lag} s"));
    let lost = sample.losses.map_or("-".to_owned(), |losses| losses.lost_messages.to_string());
    let memory: Vec<String> =
        sample.memory.iter().map(|one| format!("{} {} MiB", clean(&one.process), mib(one.bytes))).collect();
    let missed: Vec<String> = sample.unanswered.iter().map(|part| clean(&part.part)).collect();
    let missed =
        if missed.is_empty() { String::new() } else { format!("  no answer: {}", missed.join(", ")) };
    format!(
        "{:>6.0} s  {messages:>9} messages/s  {stored:>9} rows/s  pending {pending:>6}  cold lag {lag}  lost {lost}  {}{missed}",
        sample.seconds,
        memory.join(", ")
    )
}
