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

/// Rows under a title; columns of numbers are aligned to the right.
#[derive(Debug)]
pub struct TextTable {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        let cut = |cell: String| {
            let cell = clean(&cell);
            match cell.char_indices().nth(CELL_MAX) {
                Some((end, _)) => format!("{}...", cell.get(..end).unwrap_or_default()),
                None => cell,
            }
        };
        self.rows.push(cells.into_iter().map(cut).collect());
    }

    /// Appends the table to `out`, unless it is empty.
    pub fn write(self, paint: Paint, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let is_number = |cell: &String| {
            !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
        };
        let right: Vec<bool> = (0..self.columns.len())
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).all(is_number))
            .collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(self.columns).add_rows(self.rows);
        for (column, right) in table.column_iter_mut().zip(right) {
            column.set_padding((1, 1));
            column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
        }
        out.push_str(&format!("\n{}\n", self.title.to_uppercase()));
        for (i, line) in table.to_string().lines().enumerate() {
            let line = format!(" {}", line.trim_end());
            out.push_str(&if i == 0 { paint.with(Paint::SOFT, &line) } else { line });
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_escapes_do_not_pass() {
        let mut table = TextTable::new("things", &["name", "count"]);
        table.row(vec!["a".into(), "7".into()]);
        table.row(vec!["evil\u{1b}[2J".into(), "1234".into()]);
        let mut out = String::new();
        table.write(Paint::none(), &mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            ["", "THINGS", "  name      count", "  a             7", "  evil\u{fffd}[2J   1234"]
        );
        let mut nothing = String::new();
        TextTable::new("empty", &["x"]).write(Paint::none(), &mut nothing);
        assert_eq!(nothing, "");
    }
}
