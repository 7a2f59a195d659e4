//! The tables as numbered migrations. `sql/` is their one source; its README describes the form of a file.

use xxhash_rust::xxh3::Xxh3;

/// One step of the tables' history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order, without holes.
    pub version: u32,
    /// Short description.
    pub name: &'static str,
    source: &'static str,
}

impl Migration {
    /// Every step, in the order in which they are applied.
    pub const ALL: [Self; 14] = [
        Self {
            version: 0,
            name: "schema_migrations",
            source: include_str!("../sql/0000_schema_migrations.sql"),
        },
        Self { version: 1, name: "events", source: include_str!("../sql/0001_events.sql") },
        Self { version: 2, name: "time_indices", source: include_str!("../sql/0002_time_indices.sql") },
        Self { version: 3, name: "ledger", source: include_str!("../sql/0003_ledger.sql") },
        Self { version: 4, name: "feed_audits", source: include_str!("../sql/0004_feed_audits.sql") },
        Self { version: 5, name: "downtimes", source: include_str!("../sql/0005_downtimes.sql") },
        Self { version: 6, name: "instruments", source: include_str!("../sql/0006_instruments.sql") },
        Self { version: 7, name: "edge_changes", source: include_str!("../sql/0007_edge_changes.sql") },
        Self { version: 8, name: "edge_audits", source: include_str!("../sql/0008_edge_audits.sql") },
        Self { version: 9, name: "book_views", source: include_str!("../sql/0009_book_views.sql") },
        Self { version: 10, name: "corrections", source: include_str!("../sql/0010_corrections.sql") },
        Self {
            version: 11,
            name: "vertical_merges",
            source: include_str!("../sql/0011_vertical_merges.sql"),
        },
        Self { version: 12, name: "early_audits", source: include_str!("../sql/0012_early_audits.sql") },
        Self { version: 13, name: "trade_values", source: include_str!("../sql/0013_trade_values.sql") },
    ];

    /// The version of a database that has everything.
    pub const fn newest() -> u32 {
        let [.., last] = Self::ALL;
        last.version
    }

    /// Its statements for one database. Each may be run again after a crash.
    pub fn statements(&self, layout: &Layout<'_>) -> Vec<Statement> {
        statements(self.source, layout)
    }

    /// XXH3-128 of the file as 32 hex digits, comments and empty lines left out. The same for every database and configuration.
    pub fn checksum(&self) -> String {
        let mut hash = Xxh3::new();
        for line in lines(self.source) {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        format!("{:032x}", hash.digest128())
    }

    /// Names of the tables of a database, in the order in which they are made.
    pub fn tables(kind: DatabaseKind) -> Vec<String> {
        let layout = Layout { kind, database: "", ttl_days: 1, ledger_ttl_days: 1, cluster: None };
        let mut names: Vec<String> = Vec::new();
        for statement in Self::ALL.iter().flat_map(|migration| migration.statements(&layout)) {
            if !names.contains(&statement.table) {
                names.push(statement.table);
            }
        }
        names
    }
}

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// Recent rows, audits and verdicts.
    Hot,
    /// All rows, and how they were copied.
    Cold,
}

impl DatabaseKind {
    /// Hot and cold.
    pub const ALL: [Self; 2] = [Self::Hot, Self::Cold];

    /// `hot` or `cold`, as in the directives of a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        }
    }

    /// Codec at the end of most columns. Cold is written once and kept for years: denser, for a third more CPU time.
    const fn zstd(self) -> &'static str {
        match self {
            Self::Hot => "ZSTD(1)",
            Self::Cold => "ZSTD(9)",
        }
    }
}

/// One database as it shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout<'a> {
    /// The database.
    pub kind: DatabaseKind,
    /// Its name: a plain identifier, because it goes into statements as it is.
    pub database: &'a str,
    /// Days that rows live.
    pub ttl_days: u32,
    /// Days that audits, verdicts and losses live.
    pub ledger_ttl_days: u32,
    /// Name of the ClickHouse cluster, or a macro of its servers such as `{cluster}`. None: a server by itself.
    pub cluster: Option<&'a str>,
}

impl Layout<'_> {
    /// Fills one statement for one table. The macros of a cluster's servers (`{shard}`, `{replica}`, and database and table in a
    /// replica's path) come last, so that they stay as they are.
    fn fill(&self, template: &str, table: &str) -> String {
        let window = match self.cluster {
            None => "non_replicated_deduplication_window",
            Some(_) => "replicated_deduplication_window",
        };
        let text = template
            .replace("{database}", self.database)
            .replace("{table}", table)
            .replace("{ttl_days}", &self.ttl_days.to_string())
            .replace("{ledger_ttl_days}", &self.ledger_ttl_days.to_string())
            .replace("{deduplication_window}", window)
            .replace("{zstd}", self.kind.zstd());
        self.engine(&text).replace("{on_cluster}", &self.on_cluster())
    }

    /// ` ON CLUSTER 'name'`, or nothing: the part after a name in `CREATE`, `ALTER` and `DROP`.
    pub fn on_cluster(&self) -> String {
        self.cluster.map(|name| format!(" ON CLUSTER '{name}'")).unwrap_or_default()
    }

    /// Puts the engine where `{ReplacingMergeTree version}` stands.
    fn engine(&self, text: &str) -> String {
        const NAME: &str = "ReplacingMergeTree";
        let placeholder = text.split_once(&format!("{{{NAME} "));
        let Some((before, (version, after))) =
            placeholder.and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        else {
            return text.to_owned();
        };
        match self.cluster {
            None => format!("{before}{NAME}({version}){after}"),
            Some(_) => {
                let path = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
                format!("{before}Replicated{NAME}({path}, {version}){after}")
            }
        }
    }
}

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
fn lines(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty() && (!line.starts_with("--") || line.starts_with(DIRECTIVE)))
}

/// The statements of a file for one database, in order.
fn statements(source: &str, layout: &Layout<'_>) -> Vec<Statement> {
    let sections = sections(source);
    let mut statements = Vec::new();
    let of_database = |section: &&Section<'_>| !section.is_part() && section.is_for(layout.kind);
    for section in sections.iter().filter(of_database) {
        let template = expand(&sections, layout.kind, &section.lines).join("\n");
        statements.extend(section.tables().map(|table| Statement {
            table: table.to_owned(),
            sql: layout.fill(&template, table),
            on_rows: section.words.first() == Some(&"rows"),
        }));
    }
    statements
}

/// Lines with the parts in place of their names.
fn expand<'a>(sections: &[Section<'a>], kind: DatabaseKind, lines: &[&'a str]) -> Vec<&'a str> {
    let part = |line: &str| {
        let name = line.strip_prefix('{')?.strip_suffix('}')?;
        sections.iter().find(|section| section.is_part_named(name, kind))
    };
    let with_parts = |line: &&'a str| match part(line) {
        Some(part) => expand(sections, kind, &part.lines),
        None => vec![*line],
    };
    lines.iter().flat_map(with_parts).collect()
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
    fn is_part(&self) -> bool {
        self.words.first() == Some(&"part")
    }

    /// A part without databases is one of both.
    fn is_part_named(&self, name: &str, kind: DatabaseKind) -> bool {
        self.is_part() && self.words.get(1) == Some(&name) && (self.words.len() == 2 || self.is_for(kind))
    }

    /// True if it names this database. The databases are named between `in` and `for`.
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
    use crate::Table;

    #[test]
    fn released_migrations_are_unchanged() {
        let released = [
            "822d4c4055714bab910164815951a830",
            "4cbd256fc5c07291ca810e7a0c17c830",
            "16878dc0106d222eb5a1fa21dbb31c54",
            "02d9967eddbc100d7649717eb5092a98",
            "195f1bb36ac1aacb056bb6cc27099c18",
            "af3f1bf530876e96a6092dcbae2e8e6d",
            "f1b59bfd1aadb18d60536014998741f9",
            "5e5a4313bb372b0c241c1eb19cc0dc47",
            "0d454b08baffb73c943f544844664f00",
            "bffacc8cad84ad0d357004e4990e099b",
            "7b09fdc2ebd032239042848f3828fa61",
            "0854720477c9db1f68a109aa607aba28",
            "30b963a6c751e0429b790359deb38453",
            "c300f69d0f1da22ba11866c8ed322719",
        ];
        let checksums: Vec<String> = Migration::ALL.iter().map(Migration::checksum).collect();
        assert_eq!(checksums, released);
    }

    #[test]
    fn every_statement_is_filled() {
        let macros = ["{shard}", "{replica}", "/{database}/{table}'", "'{cluster}'"];
        let parameters =
            ["{exchange:String}", "{market_type:String}", "{symbol:String}", "{edge:String}", "{at:String}"];
        for (place, migration) in (0..).zip(Migration::ALL) {
            assert_eq!(migration.version, place, "{}", migration.name);
            for (kind, cluster) in
                DatabaseKind::ALL.into_iter().flat_map(|kind| [(kind, None), (kind, Some("{cluster}"))])
            {
                let layout = Layout { kind, database: "db", ttl_days: 3, ledger_ttl_days: 35, cluster };
                for statement in migration.statements(&layout) {
                    let on_cluster = layout.on_cluster();
                    let named = format!("db.{}{on_cluster}\n", statement.table);
                    assert!(statement.sql.contains(&named), "{}", statement.sql);
                    let names = macros.iter().chain(&parameters);
                    let rest = names.fold(statement.sql.clone(), |sql, name| sql.replace(name, ""));
                    assert!(!rest.contains(['{', '}']) && !rest.contains("--"), "{rest}");
                    assert_eq!(rest.contains("Replicated"), cluster.is_some() && rest.contains("ENGINE"));
                }
            }
        }
    }

    #[test]
    fn tables_are_in_their_databases() {
        let events = Table::ALL.map(|table| table.name);
        let named = |first: &[&str], more: &[&str]| -> Vec<String> {
            ["schema_migrations"].iter().chain(first).chain(more).map(|&name| name.to_owned()).collect()
        };
        let ledger = [
            "dead_letters",
            "copies",
            "copied_events",
            "audits",
            "verdicts",
            "losses",
            "positions",
            "feed_audits",
            "downtimes",
            "instruments",
            "edge_changes",
            "edge_audits",
        ];
        let later = [
            "orderbook_delta_levels",
            "book_at",
            "quote_prices",
            "corrections",
            "corrected_events",
            "applied_corrections",
            "trade_values",
        ];
        let hot = named(&events, &[&ledger[..], &later].concat());
        assert_eq!(Migration::tables(DatabaseKind::Hot), hot);
        assert_eq!(
            Migration::tables(DatabaseKind::Cold),
            named(
                &events,
                &[
                    "window_log",
                    "watermarks",
                    "instruments",
                    "orderbook_delta_levels",
                    "book_at",
                    "quote_prices",
                    "applied_corrections",
                    "trade_values"
                ]
            )
        );
    }

    const FILE: &str = "-- A comment.\n\
        --! part body\n(\n    a UInt8\n\
        -- another\n\
        --! in hot cold for x y\nCREATE {database}.{table}{on_cluster}\n{body}\n{end}\n\n\
        --! part end\n)\n{order}\n\
        --! part order in hot\nORDER BY a\n\
        --! part order in cold\nORDER BY b\n\
        --! rows in cold for x\nALTER {table} {ttl_days} {ledger_ttl_days}\n";

    fn layout(kind: DatabaseKind) -> Layout<'static> {
        Layout { kind, database: "db", ttl_days: 3, ledger_ttl_days: 35, cluster: None }
    }

    #[test]
    fn directives_choose_databases_tables_and_parts() {
        let sql = |kind| -> Vec<(String, String, bool)> {
            let statements = statements(FILE, &layout(kind));
            statements.into_iter().map(|s| (s.table, s.sql, s.on_rows)).collect()
        };
        let create = |table: &str, order: &str| {
            (table.to_owned(), format!("CREATE db.{table}\n(\n    a UInt8\n)\nORDER BY {order}"), false)
        };
        assert_eq!(sql(DatabaseKind::Hot), vec![create("x", "a"), create("y", "a")]);
        let alter = ("x".to_owned(), "ALTER x 3 35".to_owned(), true);
        assert_eq!(sql(DatabaseKind::Cold), vec![create("x", "b"), create("y", "b"), alter]);
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
