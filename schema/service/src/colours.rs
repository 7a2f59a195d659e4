//! Colours of output on a terminal.

use std::env::var_os;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// True for a terminal, unless `NO_COLOR` is set and not empty (<https://no-color.org>) or the terminal has no colours (`TERM=dumb`).
pub fn shows_colours(output: &impl IsTerminal) -> bool {
    output.is_terminal() && permits_colours(var_os("NO_COLOR").as_deref(), var_os("TERM").as_deref())
}

fn permits_colours(no_color: Option<&OsStr>, terminal: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && terminal.is_none_or(|name| name != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_a_dumb_terminal_take_the_colours_away() {
        let permits = |no_color: Option<&str>, terminal: Option<&str>| {
            permits_colours(no_color.map(OsStr::new), terminal.map(OsStr::new))
        };
        assert!(permits(None, None) && permits(Some(""), Some("xterm-256color")));
        assert!(!permits(Some("1"), Some("xterm")) && !permits(None, Some("dumb")));
    }
}
