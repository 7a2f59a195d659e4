//! Parameters of a request besides its query text: URL, headers and form fields.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

use super::compression::Coding;
use crate::engine::{Code, EngineError};
use crate::limits::BODY_WAIT;

#[derive(Debug, Clone, Default)]
pub struct QueryRequest {
    /// Query text of the URL or of a form field.
    pub query: String,
    /// Database of unqualified names.
    pub database: Option<String>,
    /// Format where the query names none.
    pub format: Option<String>,
    pub settings: Vec<(String, String)>,
    /// Values of placeholders.
    pub parameters: Vec<(String, String)>,
    pub query_id: String,
    pub session: bool,
    /// The session must already exist.
    pub session_check: bool,
    /// Response in ClickHouse's framing.
    pub framed_response: bool,
    /// Body in ClickHouse's framing.
    pub framed_body: bool,
    /// The status line is sent after the end of the query.
    pub wait_end: bool,
    pub level: Option<u32>,
    /// Revision of the native protocol for `Native` output (0: as in files).
    pub revision: u64,
    pub accept: Option<Coding>,
    pub coding: Option<Coding>,
    /// Longest pause of the client inside the body, if it request for one.
    receive_wait: Option<Duration>,
    no_http_compression: bool,
}

impl QueryRequest {
    /// Reads the query string of the URL and the headers.
    pub fn read(query: &str, headers: &HeaderMap) -> Result<QueryRequest, EngineError> {
        let mut request = QueryRequest::default();
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            request.parameter(&name, value.into_owned())?;
        }
        if request.database.is_none() {
            request.database = header("x-clickhouse-database").filter(|v| !v.is_empty()).map(str::to_owned);
        }
        if request.format.is_none() {
            request.format = header("x-clickhouse-format").filter(|v| !v.is_empty()).map(str::to_owned);
        }
        if let Some(value) = headers.get(CONTENT_ENCODING) {
            request.coding = Coding::of_request(value.to_str().unwrap_or("(not text)"))?;
        }
        let accept = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
        request.accept =
            accept.filter_map(Coding::of_response).next().filter(|_| !request.no_http_compression);
        Ok(request)
    }

    /// Takes one parameter of the URL or one form field. Unknown names are settings, as in a server. User
    /// and password are read by `access`.
    pub fn parameter(&mut self, name: &str, value: String) -> Result<(), EngineError> {
        let on = || value != "0" && !value.eq_ignore_ascii_case("false");
        match name {
            "query" => self.query.push_str(&value),
            "database" if !value.is_empty() => self.database = Some(value),
            "default_format" if !value.is_empty() => self.format = Some(value),
            "query_id" => self.query_id = value,
            "session_id" => self.session = !value.is_empty(),
            "session_check" => self.session_check = on(),
            "compress" => self.framed_response = on(),
            "decompress" => self.framed_body = on(),
            "wait_end_of_query" => self.wait_end = on(),
            "enable_http_compression" => self.no_http_compression = !on(),
            "http_zlib_compression_level" => self.level = Some(number(name, &value)?),
            "client_protocol_version" => self.revision = number(name, &value)?,
            "http_receive_timeout" => {
                self.receive_wait = Some(seconds(name, &value)?);
                // Also the limit of the engine's own requests.
                self.setting(name, value)?;
            }
            "" | "database" | "default_format" | "user" | "password" | "quota_key" | "role"
            | "stacktrace" => {}
            "session_timeout" | "close_session" | "buffer_size" | "http_response_buffer_size" => {}
            // Nothing to do: there is no progress before the end, and inserts are complete when answered.
            "send_progress_in_http_headers" | "http_headers_progress_interval_ms" => {}
            "async_insert" | "wait_for_async_insert" => {}
            _ => match name.strip_prefix("param_") {
                Some(parameter) => self.parameters.push((parameter.to_owned(), value)),
                None => self.setting(name, value)?,
            },
        }
        Ok(())
    }

    /// Longest pause of the client inside the body. A client can rely on the time it request for: data sent
    /// later is rejected.
    pub fn body_wait(&self) -> Duration {
        self.receive_wait.unwrap_or(BODY_WAIT)
    }

    fn setting(&mut self, name: &str, value: String) -> Result<(), EngineError> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !name.bytes().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            let text = format!("Unknown setting {name:?}: a name has letters, digits and underscores only");
            return Err(EngineError::new(Code::UNKNOWN_SETTING, text));
        }
        self.settings.push((name.to_owned(), value));
        Ok(())
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, EngineError> {
    value.parse().map_err(|_| {
        let text = format!("parameter {name} is {value:?}: a whole number is allowed");
        EngineError::new(Code::BAD_ARGUMENTS, text)
    })
}

/// Seconds, with or without a fraction, limited to the time of a request without the parameter.
fn seconds(name: &str, value: &str) -> Result<Duration, EngineError> {
    let given = value.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
    let Some(given) = given.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        let text = format!("setting {name} is {value:?}: a number of seconds above 0 is allowed");
        return Err(EngineError::new(Code::BAD_ARGUMENTS, text));
    };
    Ok(given.min(BODY_WAIT))
}

#[cfg(test)]
mod tests {
    use super::{BODY_WAIT, Coding, Duration, QueryRequest};
    use hyper::HeaderMap;

    #[test]
    fn parameters_settings_and_placeholders_are_distinguished() {
        let url = "query=SELECT+1%3B&database=d&user=u&password=p&max_threads=3&\
                   param_x=%5CN&compress=1&query_id=q&role=r";
        let mut headers = HeaderMap::new();
        headers.insert("accept-encoding", "zstd, gzip".parse().unwrap());
        headers.insert("x-clickhouse-format", "JSON".parse().unwrap());
        let request = QueryRequest::read(url, &headers).unwrap();
        assert_eq!(
            (request.query.as_str(), request.database.as_deref(), request.format.as_deref()),
            ("SELECT 1;", Some("d"), Some("JSON"))
        );
        assert_eq!(request.settings, [("max_threads".to_owned(), "3".to_owned())]);
        assert_eq!(request.parameters, [("x".to_owned(), "\\N".to_owned())]);
        assert!(request.framed_response && !request.framed_body);
        assert_eq!(request.accept, Some(Coding::Zstd));
        assert_eq!(QueryRequest::read("a%27b=1", &HeaderMap::new()).unwrap_err().code, 115);
    }

    #[test]
    fn a_client_may_shorten_the_wait_for_its_body_and_not_extend_it() {
        let wait = |value: &str| {
            let request = QueryRequest::read(&format!("http_receive_timeout={value}"), &HeaderMap::new());
            request.map(|request| (request.body_wait(), request.settings.len()))
        };
        for (value, want) in
            [("3", Duration::from_secs(3)), ("0.5", Duration::from_millis(500)), ("1e9", BODY_WAIT)]
        {
            assert_eq!(wait(value).unwrap(), (want, 1), "{value}");
        }
        for value in ["", "0", "-1", "nan", "inf", "soon"] {
            assert_eq!(wait(value).unwrap_err().code, 36, "{value}");
        }
        assert_eq!(QueryRequest::read("", &HeaderMap::new()).unwrap().body_wait(), BODY_WAIT);
    }
}
