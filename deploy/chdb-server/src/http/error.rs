//! HTTP status and text of an error.

use hyper::StatusCode;

use crate::engine::{Code, EngineError};

/// BAD_ARGUMENTS, CANNOT_PARSE_TEXT, _ESCAPE_SEQUENCE, _QUOTED_STRING, _INPUT_ASSERTION_FAILED, _DATE,
/// _DATETIME, _NUMBER, _UUID, _DOMAIN_VALUE_FROM_STRING, _IPV4, _IPV6, CANNOT_COMPILE_REGEXP,
/// THERE_IS_NO_COLUMN, DUPLICATE_COLUMN, ILLEGAL_COLUMN, UNKNOWN_ELEMENT_IN_AST, TYPE_MISMATCH, SYNTAX_ERROR,
/// INCORRECT_DATA, UNKNOWN_TYPE_OF_AST_NODE, TOO_DEEP_AST, TOO_BIG_AST, UNEXPECTED_AST_STRUCTURE,
/// VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE.
const BAD_REQUEST: [i32; 25] = [
    36, 6, 25, 26, 27, 38, 41, 72, 376, 441, 675, 676, 427, 8, 15, 44, 37, 53, 62, 117, 123, 167, 168, 223,
    321,
];

/// UNKNOWN_FUNCTION, _IDENTIFIER, _TYPE, _STORAGE, _TABLE, _AGGREGATE_FUNCTION, _FORMAT, _TYPE_OF_QUERY,
/// _DATABASE, _SETTING, _DIRECTION_OF_SORTING, _DATABASE_ENGINE, _ROLE; and SESSION_NOT_FOUND.
const NOT_FOUND: [i32; 14] =
    [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511, Code::SESSION_NOT_FOUND as i32];

/// UNKNOWN_USER, WRONG_PASSWORD, ACCESS_DENIED, SET_NON_GRANTED_ROLE, AUTHENTICATION_FAILED.
const FORBIDDEN: [i32; 5] = [192, 193, Code::ACCESS_DENIED as i32, 512, 516];

/// CANNOT_OPEN_FILE, SOCKET_TIMEOUT, CANNOT_SCHEDULE_TASK; and a full queue, so that clients retry.
const UNAVAILABLE: [i32; 4] =
    [76, Code::SOCKET_TIMEOUT as i32, 439, Code::TOO_MANY_SIMULTANEOUS_QUERIES as i32];

/// ClickHouse's status for an error code (its `exceptionCodeToHTTPStatus`); a few codes get a status that
/// tells clients more than its 500.
pub fn status(code: i32) -> StatusCode {
    const REQUIRED_PASSWORD: i32 = 194;
    const TIMEOUT_EXCEEDED: i32 = 159;
    match code {
        c if BAD_REQUEST.contains(&c) => StatusCode::BAD_REQUEST,
        c if NOT_FOUND.contains(&c) => StatusCode::NOT_FOUND,
        c if FORBIDDEN.contains(&c) => StatusCode::FORBIDDEN,
        c if UNAVAILABLE.contains(&c) => StatusCode::SERVICE_UNAVAILABLE,
        REQUIRED_PASSWORD => StatusCode::UNAUTHORIZED,
        c if c == Code::QUERY_IS_TOO_LARGE as i32 => StatusCode::PAYLOAD_TOO_LARGE,
        c if c == Code::NOT_IMPLEMENTED as i32 => StatusCode::NOT_IMPLEMENTED,
        c if c == Code::UNKNOWN_COMPRESSION_METHOD as i32 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        TIMEOUT_EXCEEDED => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub fn text(error: &EngineError, version: &str) -> String {
    format!("{error} (version {version})\n")
}
