//! Refuses what reaches files, network or processes and what the engine's grants (`engine/grants.rs`) do not cover. Together they are
//! an allow list: statements by their first word and table engines by name here, everything with an access type there.

use super::token::{Token, TokenKind, Tokens, is_word, name_of, text_of};
use crate::engine::{Code, EngineError};

const STATEMENTS: [&str; 28] = [
    "ALTER", "ATTACH", "CHECK", "CREATE", "DELETE", "DESC", "DESCRIBE", "DETACH", "DROP", "EXCHANGE",
    "EXISTS", "EXPLAIN", "FROM", "INSERT", "KILL", "OPTIMIZE", "RENAME", "REPLACE", "SELECT", "SET", "SHOW",
    "SYSTEM", "TRUNCATE", "UNDROP", "UPDATE", "USE", "WATCH", "WITH",
];

/// Engines of tables and databases that keep their data in the data directory or in memory.
const ENGINES: [&str; 30] = [
    "AggregatingMergeTree",
    "Atomic",
    "Buffer",
    "CoalescingMergeTree",
    "CollapsingMergeTree",
    "GenerateRandom",
    "GraphiteMergeTree",
    "Join",
    "Log",
    "MaterializedView",
    "Memory",
    "Merge",
    "MergeTree",
    "Null",
    "ReplacingMergeTree",
    "ReplicatedAggregatingMergeTree",
    "ReplicatedCoalescingMergeTree",
    "ReplicatedCollapsingMergeTree",
    "ReplicatedGraphiteMergeTree",
    "ReplicatedMergeTree",
    "ReplicatedReplacingMergeTree",
    "ReplicatedSummingMergeTree",
    "ReplicatedVersionedCollapsingMergeTree",
    "Set",
    "StripeLog",
    "SummingMergeTree",
    "TinyLog",
    "VersionedCollapsingMergeTree",
    "View",
    "WindowView",
];

/// After a column named `engine`.
const CLAUSES: [&str; 9] =
    ["AS", "COMMENT", "ORDER", "PARTITION", "PRIMARY", "SAMPLE", "SETTINGS", "TTL", "DESC"];

/// Functions that read a file or connect to a host and have no access type; `sqlite` creates its file before the engine checks the right.
const FUNCTIONS: [&str; 4] = ["catboostEvaluate", "file", "hasColumnInTable", "sqlite"];

/// Checks one statement without its data.
pub(super) fn check(text: &[u8]) -> Result<(), EngineError> {
    let tokens: Vec<Token> = Tokens::new(text, 0).collect();
    check_first_word(text, &tokens)?;
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let after = tokens.get(at + 1);
        check_adjacent(text, before, token)?;
        if after.is_some_and(|after| after.kind == TokenKind::Sign(b'(')) {
            check_call(text, before, token)?;
        }
    }
    check_definition(text, &tokens)
}

fn check_first_word(text: &[u8], tokens: &[Token]) -> Result<(), EngineError> {
    if let Some(broken) = tokens.iter().find(|token| token.kind == TokenKind::Broken) {
        let message = format!(
            "Syntax error: failed at position {}: a quote that is not closed, or a character beyond ASCII outside quotes",
            broken.start + 1
        );
        return Err(EngineError::new(Code::SYNTAX_ERROR, message));
    }
    let first = tokens.iter().find(|t| !matches!(t.kind, TokenKind::Sign(b'(' | b';')));
    match first {
        Some(first) if !STATEMENTS.iter().any(|word| is_word(text, first, word)) => {
            let message = format!(
                "Syntax error: {} is not the beginning of a statement that this server takes (taken: {})",
                text_of(text, first),
                STATEMENTS.join(", ")
            );
            Err(EngineError::new(Code::SYNTAX_ERROR, message))
        }
        _ => Ok(()),
    }
}

fn check_adjacent(text: &[u8], before: Option<&Token>, token: &Token) -> Result<(), EngineError> {
    let Some(before) = before else { return Ok(()) };
    let pair = |first: &str, second: &str| is_word(text, before, first) && is_word(text, token, second);
    if pair("INTO", "OUTFILE") || pair("FROM", "INFILE") {
        let message = "INTO OUTFILE and FROM INFILE are not allowed over HTTP";
        return Err(EngineError::new(Code::INTO_OUTFILE_NOT_ALLOWED, message));
    }
    if pair("PARALLEL", "WITH") {
        let message = "Syntax error (Multi-statements are not allowed): one request takes one statement";
        return Err(EngineError::new(Code::SYNTAX_ERROR, message));
    }
    Ok(())
}

/// `token` precedes an opening bracket.
fn check_call(text: &[u8], before: Option<&Token>, token: &Token) -> Result<(), EngineError> {
    let Some(name) = name_of(text, token) else { return Ok(()) };
    let is = |token: Option<&Token>, sign: u8| token.is_some_and(|token| token.kind == TokenKind::Sign(sign));
    let names_table = is(before, b'.') || before.is_some_and(|before| is_word(text, before, "INTO"));
    let is_refused = FUNCTIONS.iter().any(|refused| refused.eq_ignore_ascii_case(&name)) && !names_table;
    let is_disk = name.eq_ignore_ascii_case("disk") && is(before, b'=');
    // An escape in a quoted name may spell any function.
    if is_refused || is_disk || name.contains('\\') {
        return Err(refused(&format!("the function {name}")));
    }
    Ok(())
}

/// Engines of `CREATE` and its kin; `ATTACH` only of what was detached.
fn check_definition(text: &[u8], tokens: &[Token]) -> Result<(), EngineError> {
    let Some(first) = tokens.first() else { return Ok(()) };
    let is_attach = is_word(text, first, "ATTACH");
    if !is_attach && !["CREATE", "REPLACE"].iter().any(|word| is_word(text, first, word)) {
        return Ok(());
    }
    let head = tokens.iter().take_while(|token| token.depth > 0 || !is_word(text, token, "SELECT"));
    let head: Vec<&Token> = head.filter(|token| token.depth == 0).collect();
    for (at, token) in head.iter().enumerate() {
        let opens = token.kind == TokenKind::Sign(b'(');
        if is_attach && (opens || is_word(text, token, "FROM") || is_word(text, token, "UUID")) {
            return Err(refused("ATTACH with a definition or a path"));
        }
        if !is_word(text, token, "ENGINE") {
            continue;
        }
        let mut rest = head.iter().skip(at + 1).skip_while(|token| token.kind == TokenKind::Sign(b'='));
        let Some(name) = rest.next().and_then(|token| name_of(text, token)) else { continue };
        let is = |known: &&str| known.eq_ignore_ascii_case(&name);
        if !ENGINES.iter().chain(&CLAUSES).any(is) {
            let message = format!("ENGINE = {name} (allowed: {})", ENGINES.join(", "));
            return Err(refused(&message));
        }
    }
    Ok(())
}

fn refused(what: &str) -> EngineError {
    let message = format!("not allowed on this server, which reaches no files, network or processes: {what}");
    EngineError::new(Code::ACCESS_DENIED, message)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_grants_do_not_cover_is_refused() {
        for (text, code) in [
            ("SELECT file('/etc/passwd')", 497),
            ("SELECT `file`  /* x */ ('/etc/passwd')", 497),
            ("SELECT \"\\x66ile\"('/etc/passwd')", 497),
            ("EXPLAIN SELECT 1 WHERE hasColumnInTable('h', 'd', 't', 'c')", 497),
            ("CREATE VIEW v AS WITH file('/x') AS x SELECT x", 497),
            ("INSERT INTO FUNCTION file('/x', 'CSV') SELECT 1", 497),
            ("CREATE TABLE t (a Int8) ENGINE = File(CSV, '/x')", 497),
            ("CREATE TABLE t (a Int8) ENGINE /**/ `EmbeddedRocksDB`(0, '/x') PRIMARY KEY a", 497),
            ("CREATE MATERIALIZED VIEW v ENGINE = FileLog('/x', 'CSV') AS SELECT 1", 497),
            ("CREATE DATABASE d ENGINE = Filesystem('/')", 497),
            (
                "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/x/')",
                497,
            ),
            ("ATTACH TABLE t FROM '/x' (a Int8) ENGINE = MergeTree ORDER BY a", 497),
            ("ATTACH TABLE t UUID '123e4567-e89b-12d3-a456-426614174000' (a Int8) ENGINE = Memory", 497),
            (
                "CREATE TABLE a (x Int8) ENGINE = Memory PARALLEL WITH CREATE TABLE b (x Int8) ENGINE = File(CSV)",
                62,
            ),
            ("SELECT (SELECT 1 INTO /**/ OUTFILE '/x')", 358),
            ("SELECT 1 INTO\u{a0}OUTFILE '/x'", 62),
            ("SELECT \u{2018}'\u{2019} INTO OUTFILE '/x' -- '", 62),
            ("SELECT $'$ ' $'$ INTO OUTFILE '/x' -- '", 358),
            ("SELECT x'\\' INTO OUTFILE '/x' -- '", 358),
            ("SELECT 'a", 62),
            ("BACKUP TABLE t TO File('/x')", 62),
            ("GRANT ALL ON *.* TO default", 62),
        ] {
            assert_eq!(check(text.as_bytes()).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn ordinary_statements_pass() {
        for text in [
            "SELECT 'file(' AS file, disk, d.file FROM d.file WHERE x = 'disk(' -- file(",
            "INSERT INTO file (a) SELECT 1",
            "INSERT INTO d.file (a) VALUES",
            "CREATE TABLE d.file (engine String, disk String) ENGINE = ReplacingMergeTree(v) ORDER BY engine AS SELECT engine FROM t",
            "CREATE VIEW v AS SELECT engine FROM system.tables WHERE engine = 'File'",
            "CREATE TABLE a AS b ENGINE = Memory",
            "ATTACH TABLE IF NOT EXISTS d.t",
            "ALTER TABLE t ATTACH PARTITION 1 FROM u",
            "(SELECT 1) UNION ALL SELECT $a$ it's $a$, x'41', '\u{2018}'",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }
}
