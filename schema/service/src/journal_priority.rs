//! Priorities of lines for systemd's journal: `<N>` before a line, which journald takes off. Only where standard error is the stream of
//! the journal: elsewhere it would be a part of the text.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::fs::fstat;
use tracing::Level;

/// A priority of syslog (RFC 5424).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

impl From<Level> for Priority {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

impl Priority {
    /// Text for standard error, whose lines have this priority if the journal reads it.
    pub(crate) fn for_stderr(self, text: &str) -> Cow<'_, str> {
        if is_journal() { Cow::Owned(self.before_lines(text)) } else { Cow::Borrowed(text) }
    }

    fn before_lines(self, text: &str) -> String {
        let number = self as u8;
        text.split_inclusive('\n').map(|line| format!("<{number}>{line}")).collect()
    }
}

fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        is_stream(&named, &std::io::stderr())
    })
}

/// `named`: device and inode. A program that redirects its child's output leaves the variable as it is.
fn is_stream(named: &str, output: &impl AsFd) -> bool {
    fstat(output).is_ok_and(|found| named == format!("{}:{}", found.st_dev, found.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_the_manager_names_is_the_journal() {
        let ((_reader, writer), (_other_reader, other)) =
            (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let found = fstat(&writer).unwrap();
        let named = format!("{}:{}", found.st_dev, found.st_ino);
        assert!(is_stream(&named, &writer));
        assert!(!is_stream(&named, &other) && !is_stream("", &writer) && !is_stream("8", &writer));
    }

    #[test]
    fn each_line_of_a_text_has_the_priority() {
        assert_eq!(Priority::Critical.before_lines("a\nb\n"), "<2>a\n<2>b\n");
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        let lines = levels.map(|level| Priority::from(level).before_lines("x"));
        assert_eq!(lines, ["<3>x", "<4>x", "<6>x", "<7>x", "<7>x"]);
    }
}
