//! Log output of the binaries, and the rate limit of lines that could come with every frame or message.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::journal_priority::Priority;
use crate::log_output::{LogOutput, log_to_file, write_json_notices};
use crate::{mask, shows_colours};

/// Interval of [`LogLimit::default`].
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Allows one line per interval and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    every: Duration,
    last: Option<Instant>,
    held_back: u64,
}

impl LogLimit {
    /// One line per `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, last: None, held_back: 0 }
    }

    /// `Some` if a line may be written now, with the number of lines that were held back before it.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new(LOG_EVERY)
    }
}

/// Filter of the lines, such as `info,marketprism_edge=debug`.
const FILTER: &str = "MARKETPRISM_LOG";
/// Level of our own lines, as the Python system read it. The filter wins.
const LEVEL: &str = "LOG_LEVEL";
const LEVELS: [(&str, &str); 7] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warn", "warn"),
    ("warning", "warn"),
    ("error", "error"),
    ("critical", "error"),
];
/// Form of the lines: `text`, or `json` for one object a line.
const FORMAT: &str = "MARKETPRISM_LOG_FORMAT";
/// File for the lines instead of standard error; bounded, with the text before in `<file>.old`.
const FILE: &str = "MARKETPRISM_LOG_FILE";

/// Values of a log filter, for messages.
pub const LOG_FILTER_ALLOWED: &str = "a level, or a list such as info,marketprism_edge=debug";
/// Without the client's lines of connections that fail: an ERROR an attempt, where our own line has the reason and nothing is lost.
const DEFAULT_FILTER: &str = "info,async_nats=warn,async_nats::connector=off";

type ReplaceFilter = Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>;

static REPLACE_FILTER: OnceLock<ReplaceFilter> = OnceLock::new();

/// Starts logging to standard error, or to the file that `MARKETPRISM_LOG_FILE` names. `MARKETPRISM_LOG` filters, below it `LOG_LEVEL`;
/// `MARKETPRISM_LOG_FORMAT=json` writes one JSON object a line. Secrets of addresses are masked in every line and in the text of a
/// panic. A second call changes nothing.
///
/// # Errors
/// A variable is wrong: its name, its value and what is allowed.
pub fn init_logs() -> anyhow::Result<()> {
    let filter = filter(variable(FILTER)?.as_deref(), variable(LEVEL)?.as_deref())?;
    let path = std::env::var_os(FILE).filter(|path| !path.is_empty());
    if let Some(path) = &path {
        let opened = log_to_file(Path::new(path));
        opened.with_context(|| format!("{FILE}: {} cannot be written", Path::new(path).display()))?;
    }
    let is_json = is_json(variable(FORMAT)?.as_deref())?;
    let form = if is_json { LineForm::Json } else { LineForm::Text };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LineWriters { form });
    // Its own errors go to standard error, and a failure there ends the process.
    let builder = builder.log_internal_errors(false);
    let started = if is_json {
        write_json_notices();
        let builder = builder.json().with_filter_reloading();
        let filter = builder.reload_handle();
        builder.try_init().map(|()| keep(move |new| Ok(filter.reload(new)?)))
    } else {
        let is_coloured = path.is_none() && shows_colours(&std::io::stderr());
        let builder = builder.with_ansi(is_coloured).with_filter_reloading();
        let filter = builder.reload_handle();
        builder.try_init().map(|()| keep(move |new| Ok(filter.reload(new)?)))
    };
    match started {
        Ok(()) => std::panic::set_hook(Box::new(report_panic)),
        Err(error) => tracing::debug!(%error, "logging was already started"),
    }
    Ok(())
}

fn keep(replace: impl Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync + 'static) {
    // Set before by an earlier call.
    let _ = REPLACE_FILTER.set(Box::new(replace));
}

/// Replaces the filter of the lines; without a text by the default. The variables that filter lines win.
///
/// # Errors
/// The text is no filter.
pub fn set_log_filter(text: Option<&str>) -> anyhow::Result<()> {
    let filter = parse_filter("log filter", text.unwrap_or(DEFAULT_FILTER))?;
    let has_variable = variable(FILTER)?.is_some() || variable(LEVEL)?.is_some();
    match REPLACE_FILTER.get().filter(|_| !has_variable) {
        Some(replace) => replace(filter),
        None => Ok(()),
    }
}

/// The error of a text that is no filter.
///
/// # Errors
/// The text is no filter.
pub fn check_log_filter(text: &str) -> Result<(), String> {
    EnvFilter::try_new(text).map(drop).map_err(|error| format!("is {text:?}: {error}"))
}

fn parse_filter(name: &str, text: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(text).with_context(|| format!("{name}: is {text:?} (allowed: {LOG_FILTER_ALLOWED})"))
}

fn variable(name: &str) -> anyhow::Result<Option<String>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.into_string() {
        Ok(value) => Ok(Some(value)),
        Err(_) => bail!("{name}: is not UTF-8 (allowed: text in UTF-8)"),
    }
}

fn is_json(format: Option<&str>) -> anyhow::Result<bool> {
    match format.map(str::trim) {
        None => Ok(false),
        Some(format) if format.eq_ignore_ascii_case("text") => Ok(false),
        Some(format) if format.eq_ignore_ascii_case("json") => Ok(true),
        Some(format) => bail!("{FORMAT}: is {format:?} (allowed: text, json)"),
    }
}

fn filter(filter: Option<&str>, level: Option<&str>) -> anyhow::Result<EnvFilter> {
    let text = match (filter, level) {
        (Some(filter), _) => filter.to_owned(),
        (None, None) => DEFAULT_FILTER.to_owned(),
        (None, Some(level)) => {
            let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(level.trim()));
            let allowed = || LEVELS.map(|(name, _)| name).join(", ");
            let (_, level) =
                known.with_context(|| format!("{LEVEL}: is {level:?} (allowed: {})", allowed()))?;
            // The details of libraries bury our own lines.
            let others = if matches!(*level, "trace" | "debug") { "info" } else { level };
            let broker = if *level == "error" { "error" } else { "warn" };
            format!("{others},async_nats={broker},async_nats::connector=off,marketprism={level}")
        }
    };
    parse_filter(FILTER, &text)
}

/// As the standard hook, masked. An error of writing has nobody to be reported to.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let (thread, backtrace) = (std::thread::current(), Backtrace::capture());
    let output = LogOutput { priority: Priority::Critical };
    let mut output = MaskedWriter { output, form: LineForm::Panic };
    let _ = writeln!(output, "thread '{}' {panic}", thread.name().unwrap_or("<unnamed>"));
    if backtrace.status() == BacktraceStatus::Captured {
        let _ = writeln!(output, "{backtrace}");
    }
}

/// Longest line: container runtimes split those of 16 KiB and more, the journal those of 48 KiB.
const LINE_BYTES_MAX: usize = 15 << 10;
/// Bytes of a text in a JSON line that is too long. Halved until the line fits.
const LONG_TEXT_BYTES: usize = 1 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineForm {
    Text,
    Json,
    /// A panic and its backtrace have lines of their own.
    Panic,
}

/// Writers of the lines, each for a line of one level.
struct LineWriters {
    form: LineForm,
}

impl<'a> MakeWriter<'a> for LineWriters {
    type Writer = MaskedWriter<LogOutput>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskedWriter { output: LogOutput { priority: Priority::Info }, form: self.form }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Self::Writer {
        MaskedWriter { output: LogOutput { priority: (*line.level()).into() }, form: self.form }
    }
}

/// Output without secrets. Texts come whole: a line in one call.
struct MaskedWriter<W> {
    output: W,
    form: LineForm,
}

impl LineForm {
    /// One line for each event. A text of a venue or a server may have line ends, and what follows one could pass for a line of this process.
    fn line(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Text => match text.strip_suffix('\n').unwrap_or(text) {
                line if line.contains(['\n', '\r']) => {
                    Cow::Owned(line.replace('\r', "\\r").replace('\n', "\\n") + "\n")
                }
                _ => Cow::Borrowed(text),
            },
            Self::Json if text.len() > LINE_BYTES_MAX => Cow::Owned(shortened(text)),
            Self::Json | Self::Panic => Cow::Borrowed(text),
        }
    }
}

/// A JSON line with the beginnings of its long texts, which stays readable as JSON.
fn shortened(line: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let lengths =
        std::iter::successors(Some(LONG_TEXT_BYTES), |bytes| Some(bytes / 2).filter(|half| *half > 0));
    for bytes in lengths {
        let mut short = value.clone();
        shorten(&mut short, bytes);
        let short = format!("{short}\n");
        if short.len() <= LINE_BYTES_MAX {
            return short;
        }
    }
    // Too many fields: those of the event itself, such as its level, stay.
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| member.is_string());
    }
    shorten(&mut value, LONG_TEXT_BYTES);
    format!("{value}\n")
}

fn shorten(value: &mut Value, bytes: usize) {
    match value {
        Value::String(text) if text.len() > bytes => {
            let cut = text.split_off(text.floor_char_boundary(bytes));
            *text += &format!(" [{} bytes cut]", cut.len());
        }
        Value::Object(members) => members.values_mut().for_each(|member| shorten(member, bytes)),
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, bytes)),
        _ => {}
    }
}

impl<W: Write> Write for MaskedWriter<W> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(text);
        // Before a text is cut: an address without its end is not known as one.
        let masked = mask(&line);
        let line = self.form.line(&masked);
        match line.split_at_checked(line.floor_char_boundary(LINE_BYTES_MAX)) {
            Some((head, cut)) if !cut.is_empty() => {
                self.output.write_all(format!("{head} [{} bytes cut]\n", cut.len()).as_bytes())?;
            }
            _ => self.output.write_all(line.as_bytes())?,
        }
        Ok(text.len())
    }

    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> std::io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const fn writer(form: LineForm) -> MaskedWriter<Vec<u8>> {
        MaskedWriter { output: Vec::new(), form }
    }

    /// As the page that a venue's firewall answers with.
    #[test]
    fn a_text_with_line_ends_is_one_line() {
        let event = "status 403: <html>\r\n2026-11-30T00:00:00Z  INFO marketprism: all is well\n</html>";
        let written = |form| {
            let mut writer = writer(form);
            writeln!(writer, "{event}").unwrap();
            String::from_utf8(writer.output).unwrap()
        };
        let line = written(LineForm::Text);
        assert_eq!((line.lines().count(), line.contains("<html>\\r\\n2026")), (1, true), "{line}");
        let mut writer = writer(LineForm::Text);
        writeln!(writer, "a text with an end of its own\n").unwrap();
        assert_eq!(writer.output, b"a text with an end of its own\\n\n");
        assert_eq!(written(LineForm::Panic).lines().count(), 3, "a backtrace stays readable");
    }

    #[test]
    fn a_long_json_line_stays_one_object_and_below_the_limit_of_container_runtimes() {
        let written = |fields: Value| {
            let (mut writer, line) = (writer(LineForm::Json), json!({ "level": "WARN", "fields": fields }));
            writeln!(writer, "{line}").unwrap();
            assert!(writer.output.len() < 16 << 10, "{} bytes", writer.output.len());
            let read: Value = serde_json::from_slice(&writer.output).unwrap();
            assert_eq!(read["level"], "WARN");
            read
        };
        let escapes = "\u{1}".repeat(5_000);
        for fields in [
            json!({ "message": "long", "text": "ä\n".repeat(9_000) }),
            json!({ "message": "long", "text": escapes, "other": escapes, "third": escapes }),
        ] {
            let read = written(fields);
            assert_eq!(read["fields"]["message"], "long");
            assert!(read["fields"]["text"].as_str().unwrap().ends_with("bytes cut]"), "{read}");
        }
        written((0..3_000).map(|field| (format!("field {field}"), json!(0))).collect());
    }

    #[test]
    fn a_formatted_line_is_masked_as_a_whole() {
        let (mut writer, url, token) = (writer(LineForm::Text), "http://u:secret@h", "secret");
        writeln!(writer, "cannot reach {url}?token={token}: refused").unwrap();
        assert_eq!(writer.output, b"cannot reach http://***@h?token=***: refused\n");
    }

    #[test]
    fn the_level_of_the_earlier_system_is_that_of_our_lines_and_loses_to_our_filter() {
        let text = |ours: Option<&str>, level: Option<&str>| filter(ours, level).unwrap().to_string();
        let parts =
            |text: String| text.split(',').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let wanted = |text: &str| parts(text.to_owned());
        assert_eq!(
            parts(text(None, Some("DEBUG"))),
            wanted("info,async_nats=warn,async_nats::connector=off,marketprism=debug")
        );
        assert_eq!(
            parts(text(None, Some("Warning"))),
            wanted("warn,async_nats=warn,async_nats::connector=off,marketprism=warn")
        );
        assert_eq!(parts(text(None, None)), wanted("info,async_nats=warn,async_nats::connector=off"));
        assert_eq!(text(Some("marketprism_edge=trace"), Some("loud")), "marketprism_edge=trace");
        let error = filter(None, Some("loud")).unwrap_err().to_string();
        let allowed = "trace, debug, info, warn, warning, error, critical";
        assert_eq!(error, format!("LOG_LEVEL: is \"loud\" (allowed: {allowed})"));
        let error = filter(Some("a=b=c"), None).unwrap_err().to_string();
        assert!(error.starts_with("MARKETPRISM_LOG: is \"a=b=c\" (allowed: "), "{error}");
    }

    #[test]
    fn a_form_of_lines_that_nobody_knows_is_refused() {
        let is_json = |format| is_json(format).map_err(|error| error.to_string());
        assert_eq!([None, Some("text"), Some("JSON ")].map(is_json), [Ok(false), Ok(false), Ok(true)]);
        let error = is_json(Some("logfmt")).unwrap_err();
        assert_eq!(error, "MARKETPRISM_LOG_FORMAT: is \"logfmt\" (allowed: text, json)");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut writer = writer(LineForm::Text);
        writeln!(writer, "{}", "x".repeat(1 << 20)).unwrap();
        assert!(writer.output.len() < 16 << 10, "{} bytes", writer.output.len());
        assert!(writer.output.ends_with(b"x [1033217 bytes cut]\n"));
    }

    #[test]
    fn a_flood_becomes_one_line_per_interval_with_a_count() {
        let (mut limit, start) = (LogLimit::default(), Instant::now());
        assert_eq!(limit.allow(start), Some(0));
        for _ in 0..1_000 {
            assert_eq!(limit.allow(start + Duration::from_millis(1)), None);
        }
        assert_eq!(limit.allow(start + LOG_EVERY), Some(1_000));
    }
}
