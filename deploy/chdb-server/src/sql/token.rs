//! Splits a query text into tokens, never reading ahead: binary data may follow the text.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Word,
    /// A quoted string, identifier or heredoc.
    Quoted,
    /// An opening quote without its end.
    Unterminated,
    Sign(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    pub depth: usize,
}

#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a [u8], at: usize) -> Self {
        Tokens { text, at, depth: 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.text.get(at..).unwrap_or_default()
    }

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
                Some(end) => (TokenKind::Quoted, end),
                None => (TokenKind::Unterminated, self.text.len()),
            },
            b'$' => {
                self.heredoc_end().map_or((TokenKind::Sign(b'$'), start + 1), |end| (TokenKind::Quoted, end))
            }
            b if b.is_ascii_alphanumeric() || b == b'_' || !b.is_ascii() => {
                (TokenKind::Word, self.word_end())
            }
            b => (TokenKind::Sign(b), start + 1),
        };
        self.at = end;
        if matches!(kind, TokenKind::Sign(b')' | b']' | b'}')) {
            self.depth = self.depth.saturating_sub(1);
        }
        let token = Token { kind, start, end, depth: self.depth };
        if matches!(kind, TokenKind::Sign(b'(' | b'[' | b'{')) {
            self.depth += 1;
        }
        Some(token)
    }
}

/// Case-insensitive.
pub fn is_word(text: &[u8], token: &Token, word: &str) -> bool {
    token.kind == TokenKind::Word
        && text.get(token.start..token.end).is_some_and(|t| t.eq_ignore_ascii_case(word.as_bytes()))
}

/// Invalid UTF-8 is replaced.
pub fn text_of(text: &[u8], token: &Token) -> String {
    String::from_utf8_lossy(text.get(token.start..token.end).unwrap_or_default()).into_owned()
}
