//! Kind of a statement: what it returns, where its data begins, whose places it may use.

use super::guard;
use super::insert::{self, InsertHead};
use super::token::{Token, TokenKind, Tokens, is_word, text_of};
use crate::engine::{Code, EngineError};

/// A statement, parsed as far as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    Empty,
    Result(ResultStatement),
    Insert(InsertHead),
    /// Any other statement, run unchanged.
    Plain {
        /// Offset after the statement.
        end: usize,
        /// Changes only the session (`SET`, `USE`, `CREATE TEMPORARY`).
        session_only: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultStatement {
    /// Offset of the output clause: before `FORMAT`, or at the end.
    split: usize,
    /// Offset after the statement.
    end: usize,
    pub format: Option<String>,
    /// `KILL QUERY`, or a look at the running queries.
    pub is_control: bool,
    /// `KILL`, which the engine allows in read-only mode.
    pub is_kill: bool,
}

impl ResultStatement {
    /// The statement with its rows written to a file descriptor of this process.
    pub fn into_descriptor(&self, text: &[u8], descriptor: i32) -> Vec<u8> {
        let mut sql = text.get(..self.split).unwrap_or_default().to_vec();
        // On a line of its own: the text may end in a comment.
        sql.extend_from_slice(format!("\nINTO OUTFILE '/proc/self/fd/{descriptor}' TRUNCATE ").as_bytes());
        sql.extend_from_slice(text.get(self.split..self.end).unwrap_or_default());
        sql
    }
}

const RESULT_WORDS: [&str; 10] =
    ["SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL"];

/// Fails for what is not allowed over HTTP: several statements, and whatever [`guard`] refuses.
pub fn parse(text: &[u8]) -> Result<Parsed, EngineError> {
    let Some(first) =
        Tokens::new(text, 0).find(|t| t.kind != TokenKind::Sign(b'(') && t.kind != TokenKind::Sign(b';'))
    else {
        return Ok(Parsed::Empty);
    };
    if is_word(text, &first, "INSERT")
        && let Some(head) = insert::head(text, first.start)
    {
        let without_data = text.get(..head.data).unwrap_or_default();
        scan(without_data)?;
        guard::check(without_data)?;
        return Ok(Parsed::Insert(head));
    }
    let scan = scan(text)?;
    guard::check(text)?;
    let any = |words: &[&str]| words.iter().any(|word| is_word(text, &first, word));
    if any(&RESULT_WORDS) && !scan.inserts {
        let split = scan.format.as_ref().map_or(scan.end, |(at, _)| *at);
        let format = scan.format.map(|(_, name)| name);
        let (is_control, is_kill) = (is_control(text), any(&["KILL"]));
        return Ok(Parsed::Result(ResultStatement { split, end: scan.end, format, is_control, is_kill }));
    }
    let temporary = any(&["CREATE"])
        && Tokens::new(text, first.end).next().is_some_and(|t| is_word(text, &t, "TEMPORARY"));
    Ok(Parsed::Plain { end: scan.end, session_only: temporary || any(&["SET", "USE"]) })
}

/// Words that may follow a column or table named `format` at the end of a statement.
const NOT_FORMATS: [&str; 4] = ["ASC", "DESC", "FINAL", "SETTINGS"];

struct Scan {
    end: usize,
    format: Option<(usize, String)>,
    inserts: bool,
}

fn scan(text: &[u8]) -> Result<Scan, EngineError> {
    let mut scan = Scan { end: 0, format: None, inserts: false };
    let mut over = false;
    let mut previous: Option<Token> = None;
    // A FORMAT clause is valid if only SETTINGS or nothing follows its name.
    let mut candidate: Option<(usize, String)> = None;
    for token in Tokens::new(text, 0) {
        if token.kind == TokenKind::Sign(b';') && token.depth == 0 {
            over = previous.is_some();
            continue;
        }
        if over {
            let message = "Syntax error (Multi-statements are not allowed): one request takes one statement";
            return Err(EngineError::new(Code::SYNTAX_ERROR, message));
        }
        if let Some(before) = previous.filter(|_| token.depth == 0) {
            if is_word(text, &token, "INSERT") {
                scan.inserts = true;
            }
            let may_name_format =
                token.kind == TokenKind::Word && !NOT_FORMATS.iter().any(|w| is_word(text, &token, w));
            if is_word(text, &before, "FORMAT") && may_name_format {
                candidate = Some((before.start, text_of(text, &token)));
                scan.format.clone_from(&candidate);
            } else if is_word(text, &token, "SETTINGS") && scan.format.is_some() {
                // Stays a candidate: `FORMAT X SETTINGS ...` ends the statement.
                candidate = scan.format.clone();
            } else if scan.format.is_some() && !in_settings(text, &candidate, &token) {
                scan.format = None;
            }
        }
        scan.end = token.end;
        previous = Some(token);
    }
    Ok(scan)
}

/// `KILL QUERY`, `SHOW PROCESSLIST`, or a query of `system.processes` alone.
fn is_control(text: &[u8]) -> bool {
    let words: Vec<String> =
        Tokens::new(text, 0).map(|token| text_of(text, &token).to_ascii_uppercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["KILL", "QUERY", ..] | ["SHOW", "PROCESSLIST" | "FULL", ..] => true,
        ["SELECT", ..] => {
            let mut sources = 0;
            let rest = (0..words.len()).filter_map(|at| words.get(at..));
            let only_processes = rest.filter(|rest| matches!(rest, ["FROM" | "JOIN", ..])).all(|rest| {
                sources += 1;
                matches!(rest, ["FROM", "SYSTEM", ".", "PROCESSES", ..]) && !matches!(rest.get(4), Some(&","))
            });
            only_processes && sources > 0
        }
        _ => false,
    }
}

/// Is the token part of the `SETTINGS` after a format's name?
fn in_settings(text: &[u8], candidate: &Option<(usize, String)>, token: &Token) -> bool {
    let Some((start, _)) = candidate else { return false };
    Tokens::new(text, *start)
        .nth(2)
        .is_some_and(|third| is_word(text, &third, "SETTINGS") && third.start < token.start)
}

#[cfg(test)]
mod tests {
    use super::{Parsed, parse};

    fn result(text: &str) -> String {
        match parse(text.as_bytes()) {
            Ok(Parsed::Result(r)) => String::from_utf8(r.into_descriptor(text.as_bytes(), 9)).unwrap(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn output_clause_goes_before_format_or_to_the_end() {
        let out = "\nINTO OUTFILE '/proc/self/fd/9' TRUNCATE ";
        for (text, want) in [
            ("SELECT 1", format!("SELECT 1{out}")),
            ("SELECT 1 FORMAT JSON", format!("SELECT 1 {out}FORMAT JSON")),
            ("select 1 format Json;  ", format!("select 1 {out}format Json")),
            (
                "SELECT 1 FORMAT JSON SETTINGS a = 1, b = 'x'",
                format!("SELECT 1 {out}FORMAT JSON SETTINGS a = 1, b = 'x'"),
            ),
            ("SELECT 1 -- FORMAT CSV\n", format!("SELECT 1{out}")),
            ("SELECT 1 FORMAT Nope", format!("SELECT 1 {out}FORMAT Nope")),
            ("SELECT x FROM t ORDER BY format DESC", format!("SELECT x FROM t ORDER BY format DESC{out}")),
            ("SELECT (SELECT 1 FORMAT CSV) x", format!("SELECT (SELECT 1 FORMAT CSV) x{out}")),
            ("SELECT 'FORMAT JSON;'", format!("SELECT 'FORMAT JSON;'{out}")),
            ("(SELECT 1) UNION ALL SELECT 2", format!("(SELECT 1) UNION ALL SELECT 2{out}")),
            ("SELECT 1 AS csv, format csv FROM t", format!("SELECT 1 AS csv, format csv FROM t{out}")),
        ] {
            assert_eq!(result(text), want, "{text}");
        }
    }

    #[test]
    fn insert_data_begins_behind_the_head() {
        for (text, data, sql) in [
            (
                "INSERT INTO t FORMAT CSV\n1,2",
                "1,2",
                "INSERT INTO t FROM INFILE '/proc/self/fd/9' COMPRESSION 'none'  FORMAT CSV",
            ),
            (
                "INSERT INTO t (a, `b)`) VALUES (1,'x')",
                " (1,'x')",
                "INSERT INTO t (a, `b)`) FROM INFILE '/proc/self/fd/9' COMPRESSION 'none'  FORMAT Values",
            ),
            (
                "insert into format format Native\r\n\n",
                "\n",
                "insert into format FROM INFILE '/proc/self/fd/9' COMPRESSION 'none'  FORMAT Native",
            ),
            (
                "INSERT INTO d.values SETTINGS a=1 FORMAT CSV 7",
                "7",
                "INSERT INTO d.values FROM INFILE '/proc/self/fd/9' COMPRESSION 'none' SETTINGS a=1 \
                 FORMAT CSV",
            ),
            (
                "INSERT INTO t FORMAT CSV SETTINGS a=1, b='x'\n7",
                "7",
                "INSERT INTO t FROM INFILE '/proc/self/fd/9' COMPRESSION 'none' SETTINGS a=1, b='x' \
                 FORMAT CSV",
            ),
            (
                "INSERT INTO t SELECT a+1 FROM input('a UInt8') FORMAT CSV\n7",
                "7",
                "INSERT INTO t  SELECT a+1 FROM  _request_data  ",
            ),
        ] {
            let Ok(Parsed::Insert(head)) = parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(&text[head.data..], data, "{text}");
            assert_eq!(String::from_utf8(head.from_descriptor(text.as_bytes(), 9)).unwrap(), sql, "{text}");
        }
        let text = b"INSERT INTO t SELECT a FROM input('a UInt8') FORMAT CSV\n7";
        let Ok(Parsed::Insert(head)) = parse(text) else { panic!() };
        let before: Vec<String> =
            head.preparation(text, 9).into_iter().map(|sql| String::from_utf8(sql).unwrap()).collect();
        assert_eq!(
            before,
            [
                "CREATE TEMPORARY TABLE _request_data ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM null('a UInt8')",
                "INSERT INTO _request_data FROM INFILE '/proc/self/fd/9' COMPRESSION 'none' FORMAT CSV",
            ]
        );
        let select = parse(b"INSERT INTO t (a) SELECT 1");
        assert!(matches!(select, Ok(Parsed::Plain { session_only: false, .. })), "{select:?}");
    }

    #[test]
    fn several_statements_and_files_are_rejected() {
        for (text, code) in [
            ("SELECT 1; DROP TABLE t", 62),
            ("SELECT 1 INTO OUTFILE '/x'", 358),
            ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 358),
            ("INSERT INTO t SELECT a FROM input('a Int8'); SELECT 1 FORMAT CSV\n1", 62),
            ("INSERT INTO t SELECT a FROM input('a Int8') INTO OUTFILE '/x' FORMAT CSV\n1", 358),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{text}");
        }
        assert_eq!(parse(b" -- nothing\n ;"), Ok(Parsed::Empty));
    }

    #[test]
    fn only_looks_at_running_queries_are_control_statements() {
        let control = |text: &str| match parse(text.as_bytes()) {
            Ok(Parsed::Result(result)) => result.is_control,
            other => panic!("{text}: {other:?}"),
        };
        for text in [
            "KILL QUERY WHERE query_id = 'x'",
            "show processlist",
            "SELECT query_id, elapsed FROM system.processes WHERE elapsed > 1 FORMAT JSON",
        ] {
            assert!(control(text), "{text}");
        }
        for text in [
            "SELECT 1",
            "KILL MUTATION WHERE 1",
            "SELECT * FROM system.processes, numbers(1000)",
            "SELECT * FROM system.processes JOIN t USING x",
            "SELECT * FROM t WHERE x IN (SELECT query_id FROM system.processes)",
            "SELECT * FROM 'system.processes'",
        ] {
            assert!(!control(text), "{text}");
        }
    }
}
