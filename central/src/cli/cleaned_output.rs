//! Output for a terminal, without the signs that would steer it: texts of the rows come from outside.

use std::io::{Result, Write};

/// First byte of the control characters above ASCII (U+0080 to U+009F) in UTF-8.
const LATIN_CONTROLS: u8 = 0xc2;

/// Replaces control characters, but for tabs and line ends. Parts of a text may end within a character.
pub struct CleanedOutput<W> {
    output: W,
    /// The part before ended with `LATIN_CONTROLS`.
    is_open: bool,
}

impl<W> CleanedOutput<W> {
    pub const fn new(output: W) -> Self {
        Self { output, is_open: false }
    }
}

impl<W: Write> Write for CleanedOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut cleaned = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            let was_open = std::mem::replace(&mut self.is_open, byte == LATIN_CONTROLS);
            let is_latin_control = was_open && matches!(byte, 0x80..=0x9f);
            if was_open && !is_latin_control {
                cleaned.push(LATIN_CONTROLS);
            }
            if is_latin_control || byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n') {
                cleaned.extend_from_slice("\u{fffd}".as_bytes());
            } else if !self.is_open {
                cleaned.push(byte);
            }
        }
        self.output.write_all(&cleaned)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_passes_wherever_a_text_is_cut() {
        let text = "a,\"\u{1b}[2J\u{9b}2J\u{7f}\"\tä\u{a0}\u{85}€\n";
        let wanted = "a,\"\u{fffd}[2J\u{fffd}2J\u{fffd}\"\tä\u{a0}\u{fffd}€\n";
        for cut in 0..text.len() {
            let mut cleaned = CleanedOutput::new(Vec::new());
            let (first, second) = text.as_bytes().split_at(cut);
            cleaned.write_all(first).unwrap();
            cleaned.write_all(second).unwrap();
            assert_eq!(std::str::from_utf8(&cleaned.output).unwrap(), wanted, "{cut}");
        }
    }
}
