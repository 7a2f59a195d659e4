//! Columns and colours of a terminal.

use std::io::IsTerminal as _;

/// Longest text of a column; what follows is cut.
const CELL_MAX: usize = 90;

/// Whether colours are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Colour of what is as it should be.
    pub const GOOD: &'static str = "32;1";
    /// Colour of what is wrong.
    pub const BAD: &'static str = "31;1";
    /// Colour of what nobody can tell.
    pub const BLIND: &'static str = "33;1";
    /// Colour of what wants a look.
    pub const GAP: &'static str = "33";
    /// Colour of what matters less.
    pub const SOFT: &'static str = "2";

    /// Colours when standard output is a terminal and `NO_COLOR` is unset or empty. <https://no-color.org>
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !refused)
    }

    /// No colours.
    #[cfg(test)]
    pub const fn none() -> Self {
        Self(false)
    }

    /// The text in a colour.
    pub fn with(self, colour: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A text from outside without what a terminal would obey.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Rows under a title, in columns.
#[derive(Debug)]
pub struct Grid {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// An empty one.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        Self { title: title.to_owned(), rows: vec![columns.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row.
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

    /// Writes it, unless it is empty.
    pub fn write(self, paint: Paint, out: &mut String) {
        if self.rows.len() < 2 {
            return;
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        // Numbers stand at the right.
        let is_number = |column: usize| {
            self.rows.iter().skip(1).filter_map(|row| row.get(column)).all(|cell| {
                !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
            })
        };
        let right: Vec<bool> = (0..columns).map(is_number).collect();
        out.push('\n');
        out.push_str(&self.title.to_uppercase());
        out.push('\n');
        for (i, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(widths.iter().zip(&right)).map(|(cell, (width, right))| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            let text = cells.collect::<Vec<_>>().join("  ");
            let text = format!("  {}", text.trim_end());
            out.push_str(&if i == 0 { paint.with(Paint::SOFT, &text) } else { text });
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: columns line up, numbers to the right, and nothing from outside can steer the terminal.
    #[test]
    fn columns_line_up_and_escapes_do_not_pass() {
        let mut grid = Grid::new("things", &["name", "count"]);
        grid.row(vec!["a".into(), "7".into()]);
        grid.row(vec!["evil\u{1b}[2J".into(), "1234".into()]);
        let mut out = String::new();
        grid.write(Paint::none(), &mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            ["", "THINGS", "  name      count", "  a             7", "  evil\u{fffd}[2J   1234"]
        );
        let mut nothing = String::new();
        Grid::new("empty", &["x"]).write(Paint::none(), &mut nothing);
        assert_eq!(nothing, "");
    }
}
