//! `query`: one reading statement, its result as table, CSV, JSON lines or Parquet.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use clickhouse::Client;
use clickhouse::query::BytesCursor;
use marketprism_service::Exit;
use marketprism_traces::tracer;
use tokio::time::timeout;

use super::cleaned_output::CleanedOutput;
use super::replaced_file::ReplacedFile;
use super::signals::stop_on_signal;
use crate::config::Config;
use crate::limits;
use crate::report::terminal::clean;
use crate::storage::{
    ACCESS_DENIED, READ_ONLY, SETTINGS_DROPPED, Storage, StorageError, TIMEOUT_EXCEEDED,
    TOO_MANY_ROWS_OR_BYTES,
};
use crate::time::read_duration;

/// In the error of a user who may change no setting.
const MODIFIES_SETTING: &str = "setting in readonly mode";

#[derive(Debug, Args)]
pub struct QueryArgs {
    /// One statement that reads; `-`: from standard input. Tables without a database are those of hot, with --cold of cold.
    #[arg(value_name = "SQL")]
    sql: String,
    /// Ask the server and database of cold.
    #[arg(long)]
    cold: bool,
    #[arg(long, value_enum, default_value_t)]
    format: QueryFormat,
    /// Write to this file once the whole result is there, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most rows of the result; with more the command fails.
    #[arg(long, value_name = "ROWS", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    max_rows: u64,
    /// Longest time of the query.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = read_duration)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum QueryFormat {
    /// For reading; at most 64 MiB.
    #[default]
    Table,
    /// With a line of names.
    Csv,
    /// One object a line; decimals and 64-bit numbers are texts, so that no reader rounds them.
    JsonLines,
    /// For pandas, Polars, DuckDB, Spark.
    Parquet,
}

impl QueryFormat {
    /// Name in ClickHouse.
    const fn name(self) -> &'static str {
        match self {
            Self::Table => "PrettyCompactMonoBlock",
            Self::Csv => "CSVWithNames",
            Self::JsonLines => "JSONEachRow",
            Self::Parquet => "Parquet",
        }
    }
}

pub async fn execute(config: &Config, args: &QueryArgs) -> anyhow::Result<Exit> {
    let statement = statement(&args.sql)?;
    let is_binary = args.format == QueryFormat::Parquet && args.output.is_none();
    ensure!(
        !(is_binary && std::io::stdout().is_terminal()),
        "Parquet is no text for a terminal; use --output FILE"
    );
    ensure!(args.timeout >= Duration::from_secs(1), "--timeout is {:?} (allowed: 1s or more)", args.timeout);
    let place = &config.clickhouse;
    let (storage, server) = match args.cold {
        true => (Storage::cold(place)?, &place.cold.url),
        false => (Storage::hot(place)?, &place.hot.url),
    };
    let client = restricted(&storage, args);
    let trace = tracer().operation("query");
    trace.text("db.system.name", "clickhouse").text("db.namespace", &storage.database);
    trace.text("marketprism.format", args.format.name());
    // An unfinished file is deleted then.
    let (stop, _signals) = stop_on_signal();
    let answered = tokio::select! {
        answered = answer(&client, &statement, args) => answered,
        () = stop.cancelled() => Err(anyhow!("interrupted")),
    };
    trace.end(&answered);
    answered.with_context(|| format!("query at {server}"))?;
    Ok(Exit::SUCCESS)
}

fn statement(given: &str) -> anyhow::Result<String> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        let mut input = std::io::stdin().lock().take(limits::STATEMENT_BYTES + 1);
        input.read_to_string(&mut text).context("cannot read the statement from standard input")?;
    }
    ensure!(
        !text.trim().is_empty(),
        "the statement is empty (expected: SELECT, SHOW, DESCRIBE, EXPLAIN, ...)"
    );
    let longest = limits::STATEMENT_BYTES;
    ensure!(text.len() as u64 <= longest, "the statement is longer than {longest} bytes");
    ensure!(
        !gives_format(&text),
        "the statement gives a FORMAT (allowed: none; give the form with --format)"
    );
    Ok(text)
}

/// The server itself refuses whatever changes something, and ends what goes beyond a limit. No `SETTINGS` of the statement lifts that.
fn restricted(storage: &Storage, args: &QueryArgs) -> Client {
    let rows = args.max_rows.to_string();
    let client = storage.client.clone().with_database(&storage.database);
    let settings = [
        ("readonly", "1"),
        ("max_result_rows", &rows),
        ("result_overflow_mode", "throw"),
        ("max_execution_time", &args.timeout.as_secs().to_string()),
        ("cancel_http_readonly_queries_on_client_close", "1"),
        // A query that breaks off is an error of the answer, not its last lines.
        ("wait_end_of_query", "1"),
        // As many fields as names: versions of ClickHouse write a tuple as a field for each of its values, and one name.
        ("output_format_csv_serialize_tuple_into_separate_columns", "0"),
        ("output_format_json_quote_decimals", "1"),
        ("output_format_json_quote_64bit_integers", "1"),
        ("output_format_pretty_color", "0"),
        ("output_format_pretty_row_numbers", "0"),
        ("output_format_pretty_max_rows", &rows),
        ("output_format_pretty_max_value_width", &limits::TABLE_BYTES.to_string()),
        ("output_format_pretty_max_column_name_width_cut_to", "0"),
        ("output_format_pretty_single_large_number_tip_threshold", "0"),
    ];
    settings.into_iter().fold(client, |client, (name, value)| client.with_setting(name, value))
}

async fn answer(client: &Client, statement: &str, args: &QueryArgs) -> anyhow::Result<()> {
    let failed = |error: clickhouse::error::Error| explain(error.into(), args);
    check_settings(client, args).await?;
    let mut result = client.query_raw(statement).fetch_bytes(args.format.name()).map_err(failed)?;
    match (&args.output, args.format) {
        (None, QueryFormat::Table) => {
            let text = table(&mut result, args).await?;
            marketprism_service::print(&text).context("cannot write the result")
        }
        (None, _) => {
            let stdout = std::io::stdout();
            let copied = if stdout.is_terminal() {
                copy(&mut result, &mut CleanedOutput::new(stdout.lock()), args).await
            } else {
                copy(&mut result, &mut stdout.lock(), args).await
            };
            match copied {
                // The reader has seen enough.
                Err(error) if is_closed_pipe(&error) => Ok(()),
                copied => copied,
            }
        }
        (Some(path), _) => to_file(&mut result, path, args).await,
    }
}

/// Without `readonly` the server would carry out a statement that changes something.
async fn check_settings(client: &Client, args: &QueryArgs) -> anyhow::Result<()> {
    let asked = client.query_raw("SELECT toUInt8(getSetting('readonly'))").fetch_one::<u8>();
    let within = args.timeout.saturating_add(limits::QUERY_CANCEL_WAIT);
    let found = timeout(within, asked).await.map_err(|_elapsed| too_slow(args))?;
    let found = found.map_err(|error| explain(error.into(), args))?;
    ensure!(found == 1, "`readonly` is {found}, sent was 1; the server is asked nothing: {SETTINGS_DROPPED}");
    Ok(())
}

/// The next part of the result. Only the server is waited for within bounds: who reads the output may be slow.
async fn next(result: &mut BytesCursor, args: &QueryArgs) -> anyhow::Result<Option<Bytes>> {
    let within = args.timeout.saturating_add(limits::QUERY_CANCEL_WAIT);
    let part = timeout(within, result.next()).await.map_err(|_elapsed| too_slow(args))?;
    part.map_err(|error| explain(error.into(), args))
}

/// Texts of the rows must not steer the terminal.
async fn table(result: &mut BytesCursor, args: &QueryArgs) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next(result, args).await? {
        bytes.extend_from_slice(&chunk);
        let most = limits::TABLE_BYTES;
        ensure!(
            bytes.len() <= most,
            "the table is longer than {} MiB; use --format csv or --output",
            most >> 20
        );
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(|line| clean(line) + "\n").collect())
}

async fn copy(result: &mut BytesCursor, out: &mut impl Write, args: &QueryArgs) -> anyhow::Result<()> {
    while let Some(chunk) = next(result, args).await? {
        out.write_all(&chunk)?;
    }
    Ok(out.flush()?)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// A query that fails leaves an existing file as it was. A device or pipe is written to.
async fn to_file(result: &mut BytesCursor, path: &Path, args: &QueryArgs) -> anyhow::Result<()> {
    let shown = || format!("cannot write {}", path.display());
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut file = File::options().write(true).open(path).with_context(shown)?;
        return copy(result, &mut file, args).await;
    }
    let mut file = ReplacedFile::create(path, None).context("--output")?;
    copy(result, &mut file, args).await?;
    file.commit()
}

/// True for a statement that gives the form of its result itself: `FORMAT NAME` at its end or before `SETTINGS`.
fn gives_format(statement: &str) -> bool {
    let words = plain_words(statement);
    let word = |at: usize| words.get(at).map(String::as_str);
    let is = |found: &str, names: &[&str]| names.iter().any(|name| found.eq_ignore_ascii_case(name));
    // Behind these `format` is a column, an alias or an expression.
    let expects_value = |before: &str| {
        is(before, &["select", "distinct", "by", "as", "and", "or", "not", "where", "having", "on", "in"])
            || !before.starts_with(|sign: char| sign.is_alphanumeric() || "_)]'\"`*".contains(sign))
    };
    (2..words.len()).any(|at| {
        let is_last = word(at + 1).is_none_or(|next| is(next, &["settings"]));
        let is_format = word(at - 1).is_some_and(|format| is(format, &["format"]));
        let is_order = word(at).is_some_and(|name| is(name, &["asc", "desc", "from"]));
        is_last && is_format && !is_order && !word(at - 2).is_none_or(expects_value)
    })
}

/// Words outside of quotes and comments; a quoted text or any other sign is a word of its own.
fn plain_words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let end_of = |open: &str, close: &str| rest.get(open.len()..).and_then(|text| text.find(close));
        let length = if rest.starts_with("--") || rest.starts_with('#') {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            end_of("/*", "*/").map_or(rest.len(), |end| end + 4)
        } else if matches!(first, '\'' | '"' | '`') {
            words.push(first.to_string());
            quoted_length(rest, first)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len());
            words.extend(rest.get(..end).map(str::to_owned));
            end
        } else {
            if !first.is_whitespace() && first != ';' {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    words
}

/// A quote inside is doubled or behind a backslash.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut signs = text.char_indices().skip(1).peekable();
    while let Some((at, sign)) = signs.next() {
        if sign == '\\' {
            signs.next();
        } else if sign == quote && signs.next_if(|(_, next)| *next == quote).is_none() {
            return at + sign.len_utf8();
        }
    }
    text.len()
}

fn too_slow(args: &QueryArgs) -> anyhow::Error {
    anyhow!("not done within {} s; narrow the query down, or raise --timeout", args.timeout.as_secs())
}

fn explain(error: StorageError, args: &QueryArgs) -> anyhow::Error {
    match error {
        StorageError::Refused { code: TOO_MANY_ROWS_OR_BYTES, .. } => {
            anyhow!("the result has more than {} rows; add LIMIT, or raise --max-rows", args.max_rows)
        }
        StorageError::Refused { code: TIMEOUT_EXCEEDED, .. } => too_slow(args),
        // Of the statement's SETTINGS, or of those of this command, which a profile with `readonly` refuses.
        StorageError::Refused { code: READ_ONLY, text } if text.contains(MODIFIES_SETTING) => anyhow!(
            "this command only reads, within its limits: leave SETTINGS out of the statement; without any, the profile of the user has `readonly`, with which \
             ClickHouse refuses the limits: give it a profile without `readonly`, and SELECT only as privilege: {text}"
        ),
        StorageError::Refused { code: READ_ONLY | ACCESS_DENIED, text } => {
            anyhow!("this command only reads, within its limits: {text}")
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        query: QueryArgs,
    }

    /// Texts of ClickHouse 25.8 for users whose profile has `readonly` 1 and 2.
    #[test]
    fn a_user_who_may_change_no_setting_is_told_apart_from_a_statement_that_changes_something() {
        let args = <Line as clap::Parser>::parse_from(["query", "SELECT 1"]).query;
        let told = |text: &str| {
            explain(StorageError::Refused { code: READ_ONLY, text: text.to_owned() }, &args).to_string()
        };
        for setting in ["async_insert", "readonly"] {
            let told = told(&format!(
                "Code: 164. DB::Exception: Cannot modify '{setting}' setting in readonly mode. (READONLY)"
            ));
            assert!(told.contains("give it a profile without `readonly`"), "{told}");
        }
        let told =
            told("Code: 164. DB::Exception: default: Cannot execute query in readonly mode. (READONLY)");
        assert!(told.starts_with("this command only reads"), "{told}");
    }

    #[test]
    fn a_form_in_the_statement_is_found_outside_of_quotes_and_comments_only() {
        for statement in [
            "SELECT 1 FORMAT JSON",
            "select 1 format Null;",
            "SELECT 1 FORMAT CSV SETTINGS max_threads = 1",
            "SELECT * FORMAT CSV",
            "SELECT f(x) FORMAT CSV",
            "SELECT 'it''s' /* x */ FORMAT -- y\n JSON ;\n",
        ] {
            assert!(gives_format(statement), "{statement}");
        }
        for statement in [
            "SELECT 'FORMAT JSON'",
            "SELECT 1 -- FORMAT JSON",
            "SELECT format FROM t",
            "SELECT a FROM t ORDER BY format DESC",
            "SELECT format f",
            "SELECT a, format f",
            "SELECT formatDateTime(now(), '%F')",
            "SELECT \"a \\\" FORMAT x\" FROM t WHERE format = 1",
            "SELECT 1 AS a FROM (SELECT format x)",
            "FORMAT",
        ] {
            assert!(!gives_format(statement), "{statement}");
        }
    }
}
