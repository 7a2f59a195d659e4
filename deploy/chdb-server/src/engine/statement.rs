//! Input and result of one query, and the errors of the engine with ClickHouse's codes.

use std::time::Duration;

/// One query and everything that applies while it runs; nothing carries over to the next query.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// Statements of this program to run before, on the same connection.
    pub preparation: Vec<Vec<u8>>,
    pub text: Vec<u8>,
    /// Output format where the text names none.
    pub format: String,
    /// Database of unqualified names; `None`: the engine's `default`.
    pub database: Option<String>,
    pub settings: Vec<(String, String)>,
    /// Values of `{name:Type}` placeholders.
    pub parameters: Vec<(String, String)>,
    /// The client's id of the query, written to its `log_comment`: the engine assigns ids of its own.
    pub query_id: String,
    /// Rejects statements that change data or settings.
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub read_rows: u64,
    /// Uncompressed.
    pub read_bytes: u64,
    pub written_rows: u64,
    /// Uncompressed.
    pub written_bytes: u64,
    pub result_rows: u64,
    /// In memory.
    pub result_bytes: u64,
    pub elapsed: Duration,
}

/// Counts of a query, and the result bytes of a statement whose output was not sent to a file.
pub type QueryResult = Result<(Counts, Vec<u8>), EngineError>;

/// ClickHouse error codes that this program raises or checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "ClickHouse's names, which clients see")]
pub enum Code {
    UNSUPPORTED_METHOD = 1,
    BAD_ARGUMENTS = 36,
    NOT_IMPLEMENTED = 48,
    SYNTAX_ERROR = 62,
    UNKNOWN_FORMAT = 73,
    UNKNOWN_COMPRESSION_METHOD = 89,
    UNKNOWN_SETTING = 115,
    INCORRECT_DATA = 117,
    READONLY = 164,
    TOO_MANY_SIMULTANEOUS_QUERIES = 202,
    SOCKET_TIMEOUT = 209,
    QUERY_IS_TOO_LARGE = 229,
    NOT_ENOUGH_SPACE = 243,
    INTO_OUTFILE_NOT_ALLOWED = 358,
    SESSION_NOT_FOUND = 372,
    QUERY_WAS_CANCELLED = 394,
    ACCESS_DENIED = 497,
    AUTHENTICATION_FAILED = 516,
    POCO_EXCEPTION = 1000,
    UNKNOWN_EXCEPTION = 1002,
}

/// A failure with its ClickHouse code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Code: {code}. DB::Exception: {message}")]
pub struct EngineError {
    pub code: i32,
    /// Text after `DB::Exception: `, ending with the symbolic name where the engine gives one.
    pub message: String,
}

impl EngineError {
    /// An error of this program.
    pub fn new(code: Code, text: impl std::fmt::Display) -> Self {
        EngineError { code: code as i32, message: format!("{text}. ({code:?})") }
    }

    /// Parses `Code: N. DB::Exception: text. (NAME)`. The engine wraps an error once per layer; repeated
    /// prefixes, versions and names are dropped.
    pub fn parse(text: &str) -> Self {
        let mut code = Code::UNKNOWN_EXCEPTION as i32;
        let mut rest = text.trim();
        while let Some((number, after)) = split_prefix(rest) {
            code = number;
            rest = after;
        }
        let mut message = rest.to_owned();
        if let Some(name) =
            rest.strip_suffix(')').and_then(|r| r.rsplit_once(" (")).map(|(_, name)| name.to_owned())
        {
            let end = format!(". ({name})");
            while let Some(cut) = message.strip_suffix(&end).and_then(without_version) {
                message = cut.to_owned();
            }
        }
        EngineError { code, message }
    }
}

/// Splits `Code: N. DB::Exception: rest`.
fn split_prefix(text: &str) -> Option<(i32, &str)> {
    let (number, rest) = text.strip_prefix("Code: ")?.split_once(". ")?;
    let (kind, rest) = rest.split_once(": ")?;
    (kind.starts_with("DB::") && kind.ends_with("Exception")).then_some(())?;
    Some((number.parse().ok()?, rest))
}

/// Cuts a ` (version 1.2.3.4)` at the end.
fn without_version(text: &str) -> Option<&str> {
    let (before, version) = text.strip_suffix(')')?.rsplit_once(" (version ")?;
    version.chars().all(|c| c.is_ascii_digit() || c == '.').then_some(before)
}

#[cfg(test)]
mod tests {
    use super::EngineError;

    #[test]
    fn nested_engine_errors_are_unwrapped_to_one() {
        let nested = "Code: 33. DB::Exception: Code: 33. DB::Exception: Cannot read all data. Bytes read: \
                      4: While executing File: data for INSERT was parsed from file. (CANNOT_READ_ALL_DATA) \
                      (version 26.5.1.1). (CANNOT_READ_ALL_DATA)";
        let error = EngineError::parse(nested);
        assert_eq!(error.code, 33);
        assert_eq!(
            error.message,
            "Cannot read all data. Bytes read: 4: While executing File: data for INSERT was parsed from \
             file. (CANNOT_READ_ALL_DATA)"
        );
        let plain = EngineError::parse("Code: 60. DB::Exception: Table a.b does not exist. (UNKNOWN_TABLE)");
        assert_eq!((plain.code, plain.message.as_str()), (60, "Table a.b does not exist. (UNKNOWN_TABLE)"));
        assert_eq!(EngineError::parse("boom").code, 1002);
    }
}
