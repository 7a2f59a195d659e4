//! Splits a query text into tokens, without looking further than asked: binary data may follow the text.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bare word: keyword, identifier or number.
    Word,
    /// A quoted string, identifier or heredoc.
    Quoted,
    /// A quote without its end.
    Unterminated,
    /// Any other single byte.
    Sign(u8),
}

/// A token, and where in the text it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Offset of its first byte.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    /// Brackets that are open around it.
    pub depth: usize,
}

/// Iterator over the tokens of a text.
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Tokens<'a> {
    /// Starts at the offset.
    pub fn new(text: &'a [u8], at: usize) -> Self {
        Tokens { text, at, depth: 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.text.get(at..).unwrap_or_default()
    }

    /// Moves over white space and comments.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest(self.at);
            match rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..] => self.at += 1,
                [b'-', b'-', ..] | [b'#', b' ' | b'!', ..] => {
                    self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
                }
                [b'/', b'*', inner @ ..] => {
                    self.at += 2 + memchr::memmem::find(inner, b"*/").map_or(inner.len(), |n| n + 2);
                }
                _ => return,
            }
        }
    }

    /// The end of a quoted token that starts here. Both a backslash and a doubled quote escape.
    fn quoted_end(&self, quote: u8) -> Option<usize> {
        let mut at = self.at + 1;
        loop {
            match self.byte(at)? {
                b'\\' => at += 2,
                b if b == quote => {
                    if self.byte(at + 1) != Some(quote) {
                        return Some(at + 1);
                    }
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }

    /// The end of `$tag$...$tag$`, if one starts here.
    fn heredoc_end(&self) -> Option<usize> {
        let rest = self.rest(self.at);
        let inner = rest.get(1..)?;
        let tag_end = inner.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))?;
        if inner.get(tag_end) != Some(&b'$') {
            return None;
        }
        let tag = rest.get(..tag_end + 2)?;
        let body = rest.get(tag.len()..)?;
        memchr::memmem::find(body, tag).map(|found| self.at + tag.len() + found + tag.len())
    }

    fn word_end(&self) -> usize {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || !b.is_ascii();
        let rest = self.rest(self.at);
        self.at + rest.iter().position(|b| !is_part(b)).unwrap_or(rest.len())
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_space();
        let start = self.at;
        let first = self.byte(start)?;
        let (kind, end) = match first {
            b'\'' | b'"' | b'`' => match self.quoted_end(first) {
                Some(end) => (Kind::Quoted, end),
                None => (Kind::Unterminated, self.text.len()),
            },
            b'$' => self.heredoc_end().map_or((Kind::Sign(b'$'), start + 1), |end| (Kind::Quoted, end)),
            b if b.is_ascii_alphanumeric() || b == b'_' || !b.is_ascii() => (Kind::Word, self.word_end()),
            b => (Kind::Sign(b), start + 1),
        };
        self.at = end;
        if matches!(kind, Kind::Sign(b')' | b']' | b'}')) {
            self.depth = self.depth.saturating_sub(1);
        }
        let token = Token { kind, start, end, depth: self.depth };
        if matches!(kind, Kind::Sign(b'(' | b'[' | b'{')) {
            self.depth += 1;
        }
        Some(token)
    }
}

/// Whether the token is this keyword, in any case.
pub fn is_word(text: &[u8], token: &Token, word: &str) -> bool {
    token.kind == Kind::Word
        && text.get(token.start..token.end).is_some_and(|t| t.eq_ignore_ascii_case(word.as_bytes()))
}

/// The token's text; what is not UTF-8 in it is replaced.
pub fn text_of(text: &[u8], token: &Token) -> String {
    String::from_utf8_lossy(text.get(token.start..token.end).unwrap_or_default()).into_owned()
}
