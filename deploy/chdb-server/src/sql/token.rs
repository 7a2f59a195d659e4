//! Splits a query text into tokens, never reading ahead: binary data may follow the text.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Word,
    /// A quoted string or heredoc.
    Text,
    /// An identifier in backticks or double quotes.
    Name,
    /// The rest of a text that does not split: an opening quote without its end, or a character beyond ASCII outside quotes, of
    /// which the engine takes some for quotes and some for blanks.
    Broken,
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

    /// The end of `$tag$...$tag$`, if one starts here. As for the engine, the tag is any text.
    fn heredoc_end(&self) -> Option<usize> {
        let rest = self.rest(self.at);
        let inner = rest.get(1..)?;
        let tag_end = memchr::memchr(b'$', inner)?;
        let tag = rest.get(..tag_end + 2)?;
        let body = rest.get(tag.len()..)?;
        memchr::memmem::find(body, tag).map(|found| self.at + tag.len() + found + tag.len())
    }

    /// The end of `x'...'` or `b'...'`, which know no escapes.
    fn binary_end(&self) -> Option<usize> {
        let inner = self.rest(self.at).get(2..)?;
        memchr::memchr(b'\'', inner).map(|found| self.at + 2 + found + 1)
    }

    fn quoted(&self, kind: TokenKind, end: Option<usize>) -> (TokenKind, usize) {
        end.map_or((TokenKind::Broken, self.text.len()), |end| (kind, end))
    }

    fn word_end(&self) -> usize {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$');
        let rest = self.rest(self.at + 1);
        self.at + 1 + rest.iter().position(|b| !is_part(b)).unwrap_or(rest.len())
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_space();
        let start = self.at;
        let first = self.byte(start)?;
        let (kind, end) = match (first, self.rest(start)) {
            (b'\'', _) => self.quoted(TokenKind::Text, self.quoted_end(first)),
            (b'"' | b'`', _) => self.quoted(TokenKind::Name, self.quoted_end(first)),
            (b'$', _) => match self.heredoc_end() {
                Some(end) => (TokenKind::Text, end),
                None if self.word_end() > start + 1 => (TokenKind::Word, self.word_end()),
                None => (TokenKind::Sign(b'$'), start + 1),
            },
            (_, [b'x' | b'X' | b'b' | b'B', b'\'', ..]) => self.quoted(TokenKind::Text, self.binary_end()),
            (b, _) if !b.is_ascii() => (TokenKind::Broken, self.text.len()),
            (b, _) if b.is_ascii_alphanumeric() || b == b'_' => (TokenKind::Word, self.word_end()),
            (b, _) => (TokenKind::Sign(b), start + 1),
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

/// Name of an unquoted or quoted identifier; escapes are left as they are.
pub fn name_of(text: &[u8], token: &Token) -> Option<String> {
    match token.kind {
        TokenKind::Word => Some(text_of(text, token)),
        TokenKind::Name => {
            let inner = text.get(token.start + 1..token.end.saturating_sub(1)).unwrap_or_default();
            Some(String::from_utf8_lossy(inner).into_owned())
        }
        TokenKind::Text | TokenKind::Broken | TokenKind::Sign(_) => None,
    }
}
