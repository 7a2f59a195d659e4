//! Tables and colours for the terminal.

use std::io::IsTerminal as _;

use comfy_table::{CellAlignment, Table, presets};

/// Longest text of a cell; the rest is cut off.
const CELL_MAX: usize = 90;

/// Colours on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    pub const GOOD: &'static str = "32;1";
    pub const BAD: &'static str = "31;1";
    pub const UNKNOWN: &'static str = "33;1";
    pub const WARN: &'static str = "33";
    pub const SOFT: &'static str = "2";

    /// On when standard output is a terminal and `NO_COLOR` is unset or empty. <https://no-color.org>
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !refused)
    }

    #[cfg(test)]
    pub const fn none() -> Self {
        Self(false)
    }

    pub fn with(self, colour: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Replaces control characters: text from outside must not steer the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Appends rows under a title and column names (separated by commas); nothing without rows. Columns of numbers are aligned to the right.
pub fn text_table(
    title: &str,
    columns: &str,
    rows: impl Iterator<Item = Vec<String>>,
    paint: Paint,
    out: &mut String,
) {
    let cut = |cell: String| {
        let cell = clean(&cell);
        match cell.char_indices().nth(CELL_MAX) {
            Some((end, _)) => format!("{}...", cell.get(..end).unwrap_or_default()),
            None => cell,
        }
    };
    let rows: Vec<Vec<String>> = rows.map(|row| row.into_iter().map(cut).collect()).collect();
    if rows.is_empty() {
        return;
    }
    let is_number = |cell: &String| {
        !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
    };
    let right: Vec<bool> = (0..columns.split(',').count())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).all(is_number))
        .collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.split(',')).add_rows(rows);
    for (column, right) in table.column_iter_mut().zip(right) {
        column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
    }
    out.push_str(&format!("\n{}\n", title.to_uppercase()));
    for (i, line) in table.to_string().lines().enumerate() {
        let line = format!(" {}", line.trim_end());
        out.push_str(&if i == 0 { paint.with(Paint::SOFT, &line) } else { line });
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_escapes_do_not_pass() {
        let rows = [["a", "7"], ["evil\u{1b}[2J", "1234"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = String::new();
        text_table("things", "name,count", rows.into_iter(), Paint::none(), &mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            ["", "THINGS", "  name      count", "  a             7", "  evil\u{fffd}[2J   1234"]
        );
        let mut nothing = String::new();
        text_table("empty", "x", std::iter::empty(), Paint::none(), &mut nothing);
        assert_eq!(nothing, "");
    }
}
