//! Errors of the engine, with the numeric code that ClickHouse clients know.

/// Codes of ClickHouse that this program itself raises or looks at.
pub mod codes {
    /// A bad value in the request.
    pub const BAD_ARGUMENTS: i32 = 36;
    /// Something the embedded engine or this server does not do.
    pub const NOT_IMPLEMENTED: i32 = 48;
    /// The query text does not parse.
    pub const SYNTAX_ERROR: i32 = 62;
    /// A setting name nobody knows.
    pub const UNKNOWN_SETTING: i32 = 115;
    /// Data that contradicts its format or encoding.
    pub const INCORRECT_DATA: i32 = 117;
    /// `INTO OUTFILE` in a query that came over HTTP.
    pub const INTO_OUTFILE_NOT_ALLOWED: i32 = 358;
    /// Every place in the queue is taken.
    pub const TOO_MANY_SIMULTANEOUS_QUERIES: i32 = 202;
    /// The client stopped sending.
    pub const SOCKET_TIMEOUT: i32 = 209;
    /// The query text or the inserted data is too long.
    pub const QUERY_IS_TOO_LARGE: i32 = 229;
    /// A session was asked for that must already exist.
    pub const SESSION_NOT_FOUND: i32 = 372;
    /// The query was stopped.
    pub const QUERY_WAS_CANCELLED: i32 = 394;
    /// Access refused.
    pub const ACCESS_DENIED: i32 = 497;
    /// A compression this server does not read or write.
    pub const UNKNOWN_COMPRESSION_METHOD: i32 = 89;
    /// Anything without a code of its own.
    pub const UNKNOWN_EXCEPTION: i32 = 1002;
}

/// A failure with its ClickHouse code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Code: {code}. DB::Exception: {message}")]
pub struct EngineError {
    /// Numeric code as in ClickHouse's `ErrorCodes`.
    pub code: i32,
    /// Text after `DB::Exception: `, with the symbolic name at its end where the engine gives one.
    pub message: String,
}

impl EngineError {
    /// An error raised by this program, with the symbolic name ClickHouse gives the code.
    pub fn new(code: i32, name: &str, text: impl std::fmt::Display) -> Self {
        EngineError { code, message: format!("{text}. ({name})") }
    }

    /// Reads the engine's text `Code: N. DB::Exception: text. (NAME)`. The engine wraps an error once more
    /// for each layer it passes; the repetitions of prefix, version and name are dropped.
    pub fn parse(text: &str) -> Self {
        let mut code = codes::UNKNOWN_EXCEPTION;
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

    // Goal: clients see one code and one name, whatever the number of layers. Method: texts the engine really
    // gave.
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
