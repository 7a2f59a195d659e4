//! `INSERT` statements: the start of the data, and the rewrite to read it from a file.

use std::ops::Range;

use super::token::{Token, TokenKind, Tokens, is_word, text_of};

/// An insert followed by its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertHead {
    /// `INSERT INTO table (columns)`, to be followed by `FROM INFILE`.
    target: Range<usize>,
    /// `SETTINGS ...`, at any position.
    settings: Option<Range<usize>>,
    /// For `INSERT ... SELECT ... FROM input('structure')`: the select, and the call inside it.
    input: Option<Input>,
    pub format: String,
    /// Offset of the first byte of data.
    pub data: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Input {
    select: Range<usize>,
    /// From the word `input` to after its closing bracket.
    call: Range<usize>,
    /// Between the brackets.
    structure: Range<usize>,
}

/// Temporary table of one connection, for rows that a `SELECT` reads.
const REQUEST_DATA: &str = "_request_data";

impl InsertHead {
    /// Statements to run before: rows that a `SELECT` reads go into a temporary table. (The table function `file` needs a right to all
    /// files.)
    pub fn preparation(&self, text: &[u8], descriptor: i32) -> Vec<Vec<u8>> {
        let Some(input) = &self.input else { return Vec::new() };
        let structure = text.get(input.structure.clone()).unwrap_or_default();
        let mut create = format!(
            "CREATE TEMPORARY TABLE {REQUEST_DATA} ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM null("
        )
        .into_bytes();
        create.extend_from_slice(structure);
        create.push(b')');
        let fill = format!(
            "INSERT INTO {REQUEST_DATA} FROM INFILE '/proc/self/fd/{descriptor}' COMPRESSION 'none' FORMAT {}",
            self.format
        );
        vec![create, fill.into_bytes()]
    }

    /// The statement that inserts the same rows from a file descriptor of this process.
    pub fn from_descriptor(&self, text: &[u8], descriptor: i32) -> Vec<u8> {
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let settings = self.settings.as_ref().map(part).unwrap_or_default();
        let mut sql = part(&self.target).to_vec();
        let mut push = |bytes: &[u8]| {
            sql.push(b' ');
            sql.extend_from_slice(bytes);
        };
        match &self.input {
            None => {
                push(format!("FROM INFILE '/proc/self/fd/{descriptor}' COMPRESSION 'none'").as_bytes());
                push(settings);
                push(format!("FORMAT {}", self.format).as_bytes());
            }
            Some(input) => {
                push(settings);
                push(part(&(input.select.start..input.call.start)));
                push(REQUEST_DATA.as_bytes());
                push(part(&(input.call.end..input.select.end)));
            }
        }
        sql
    }
}

/// Parses a statement whose first word is `INSERT`. `None` for `INSERT ... SELECT` without data, and for
/// invalid text: the engine then reports the error.
pub(super) fn head(text: &[u8], start: usize) -> Option<InsertHead> {
    let mut tokens = Tokens::new(text, start);
    let mut settings: Option<Range<usize>> = None;
    let mut previous: Option<Token> = None;
    let mut target_end = start;
    while let Some(token) = tokens.next() {
        let names_target = previous.is_none_or(|p| {
            p.kind == TokenKind::Sign(b'.')
                || ["INTO", "TABLE", "FUNCTION"].iter().any(|w| is_word(text, &p, w))
        });
        if token.depth == 0 && !names_target {
            if is_word(text, &token, "FROM") {
                // FROM INFILE: not for clients.
                return None;
            } else if is_word(text, &token, "SETTINGS") && settings.is_none() {
                settings = Some(token.start..token.end);
            } else if is_word(text, &token, "VALUES") {
                let target = start..target_end;
                let data = token.end;
                return Some(InsertHead { target, settings, input: None, format: "Values".to_owned(), data });
            } else if is_word(text, &token, "FORMAT") {
                let name = tokens.next().filter(|t| t.kind == TokenKind::Word)?;
                let (after, data) = after_format(text, name.end);
                let settings = settings.or(after);
                let format = text_of(text, &name);
                return Some(InsertHead { target: start..target_end, settings, input: None, format, data });
            } else if is_word(text, &token, "SELECT") || is_word(text, &token, "WITH") {
                return with_input(text, start..target_end, settings, token.start);
            } else if token.kind == TokenKind::Sign(b'(') {
                let inside = tokens.clone().next();
                if inside.is_some_and(|t| is_word(text, &t, "SELECT") || is_word(text, &t, "WITH")) {
                    return None;
                }
            }
        }
        match &mut settings {
            Some(range) => range.end = token.end,
            None => target_end = token.end,
        }
        previous = Some(token);
    }
    None
}

/// `INSERT ... SELECT ... FROM input('structure') ... FORMAT X` and its data.
fn with_input(
    text: &[u8],
    target: Range<usize>,
    settings: Option<Range<usize>>,
    select: usize,
) -> Option<InsertHead> {
    let mut tokens = Tokens::new(text, select);
    let mut call: Option<(Range<usize>, Range<usize>)> = None;
    while let Some(token) = tokens.next() {
        if is_word(text, &token, "input") {
            let open = tokens.next().filter(|t| t.kind == TokenKind::Sign(b'('))?;
            let closes = |t: &Token| t.kind == TokenKind::Sign(b')') && t.depth == open.depth;
            let close = tokens.by_ref().find(closes)?;
            call = Some((token.start..close.end, open.end..close.start));
        } else if token.depth == 0 && is_word(text, &token, "FORMAT") {
            let (call, structure) = call?;
            let name = tokens.next().filter(|t| t.kind == TokenKind::Word)?;
            let (after, data) = after_format(text, name.end);
            let input = Some(Input { select: select..token.start, call, structure });
            let settings = settings.or(after);
            return Some(InsertHead { target, settings, input, format: text_of(text, &name), data });
        }
    }
    None
}

/// Text between the format's name and the data: optional `SETTINGS name = value, ...`, then blanks and one
/// line break, as in ClickHouse's parser.
fn after_format(text: &[u8], mut at: usize) -> (Option<Range<usize>>, usize) {
    let mut tokens = Tokens::new(text, at);
    let mut settings = None;
    if let Some(word) = tokens.next().filter(|t| is_word(text, t, "SETTINGS")) {
        let mut end = word.end;
        while let (Some(_name), Some(_equals), Some(value)) = (tokens.next(), tokens.next(), tokens.next()) {
            end = value.end;
            let mut ahead = tokens.clone();
            match ahead.next() {
                Some(t) if t.kind == TokenKind::Sign(b',') => tokens = ahead,
                _ => break,
            }
        }
        settings = Some(word.start..end);
        at = end;
    }
    let byte = |at: usize| text.get(at).copied();
    while matches!(byte(at), Some(b' ' | b'\t' | 0x0c)) {
        at += 1;
    }
    if byte(at) == Some(b'\r') && byte(at + 1) == Some(b'\n') {
        at += 1;
    }
    if byte(at) == Some(b'\n') {
        at += 1;
    }
    (settings, at)
}
