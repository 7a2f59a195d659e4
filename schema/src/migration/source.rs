//! The form of a file in `sql/`.

use super::{DatabaseKind, Layout};

/// Start of a section of a file.
const DIRECTIVE: &str = "--! ";

/// A statement, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The table it makes or changes.
    pub table: String,
    /// Its text.
    pub sql: String,
    /// True if it changes rows only, not the table's columns.
    pub on_rows: bool,
}

/// A directive and the lines below it.
struct Section<'a> {
    words: Vec<&'a str>,
    lines: Vec<&'a str>,
}

/// The lines that count: no comments, nothing empty.
pub(super) fn lines(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty() && (!line.starts_with("--") || line.starts_with(DIRECTIVE)))
}

/// The statements of a file for one database, in order.
pub(super) fn statements(source: &str, layout: &Layout<'_>) -> Vec<Statement> {
    let sections = sections(source);
    let part = |line: &str| {
        let name = line.strip_prefix('{')?.strip_suffix('}')?;
        sections.iter().find(|section| section.words == ["part", name])
    };
    let mut statements = Vec::new();
    for section in sections.iter().filter(|section| section.is_for(layout.kind)) {
        let lines = section.lines.iter().flat_map(|line| match part(line) {
            Some(part) => part.lines.clone(),
            None => vec![*line],
        });
        let template = lines.collect::<Vec<_>>().join("\n");
        statements.extend(section.tables().map(|table| Statement {
            table: table.to_owned(),
            sql: layout.fill(&template, table),
            on_rows: section.words.first() == Some(&"rows"),
        }));
    }
    statements
}

fn sections(source: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in lines(source) {
        match (line.strip_prefix(DIRECTIVE), sections.last_mut()) {
            (Some(directive), _) => {
                sections.push(Section { words: directive.split_whitespace().collect(), lines: Vec::new() });
            }
            (None, Some(section)) => section.lines.push(line),
            (None, None) => {}
        }
    }
    sections
}

impl<'a> Section<'a> {
    /// True if it is a statement for this database. The databases are named between `in` and `for`.
    fn is_for(&self, kind: DatabaseKind) -> bool {
        let databases =
            self.words.iter().skip_while(|word| **word != "in").take_while(|word| **word != "for");
        databases.skip(1).any(|word| *word == kind.name())
    }

    /// The tables, which stand behind `for`.
    fn tables(&self) -> impl Iterator<Item = &'a str> {
        self.words.iter().skip_while(|word| **word != "for").skip(1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "-- A comment.\n\
        --! part body\n(\n    a UInt8\n\
        -- another\n\
        --! in hot cold for x y\nCREATE {database}.{table}{on_cluster}\n{body}\n)\n\n\
        --! rows in cold for x\nALTER {table} {ttl_days} {ledger_ttl_days}\n";

    fn layout(kind: DatabaseKind) -> Layout<'static> {
        Layout { kind, database: "db", ttl_days: 3, ledger_ttl_days: 35, cluster: None }
    }

    #[test]
    fn directives_choose_databases_and_tables() {
        let sql = |kind| -> Vec<(String, String, bool)> {
            let statements = statements(FILE, &layout(kind));
            statements.into_iter().map(|s| (s.table, s.sql, s.on_rows)).collect()
        };
        let create = |table: &str| (table.to_owned(), format!("CREATE db.{table}\n(\n    a UInt8\n)"), false);
        assert_eq!(sql(DatabaseKind::Hot), vec![create("x"), create("y")]);
        let alter = ("x".to_owned(), "ALTER x 3 35".to_owned(), true);
        assert_eq!(sql(DatabaseKind::Cold), vec![create("x"), create("y"), alter]);
    }

    #[test]
    fn the_form_of_a_cluster_is_replicated() {
        let file = "--! in hot for t\nCREATE {database}.{table}{on_cluster} ENGINE = {ReplacingMergeTree at} \
                    SETTINGS {deduplication_window} = 1\n";
        let one = statements(file, &layout(DatabaseKind::Hot));
        assert_eq!(
            one[0].sql,
            "CREATE db.t ENGINE = ReplacingMergeTree(at) SETTINGS non_replicated_deduplication_window = 1"
        );
        let cluster = Layout { cluster: Some("{cluster}"), ..layout(DatabaseKind::Hot) };
        assert_eq!(
            statements(file, &cluster)[0].sql,
            "CREATE db.t ON CLUSTER '{cluster}' ENGINE = ReplicatedReplacingMergeTree(\
             '/clickhouse/tables/{shard}/{database}/{table}', '{replica}', at) SETTINGS \
             replicated_deduplication_window = 1"
        );
    }
}
