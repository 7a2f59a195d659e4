//! Values that the statements' placeholders are replaced with.

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
    /// Fills one statement for one table.
    ///
    /// Macros that a cluster's servers fill in (`{shard}`, `{replica}`, and database and table in a replica's path) comes last,
    /// so that it is left alone here.
    pub(super) fn fill(&self, template: &str, table: &str) -> String {
        let window = match self.cluster {
            None => "non_replicated_deduplication_window",
            Some(_) => "replicated_deduplication_window",
        };
        let text = template
            .replace("{database}", self.database)
            .replace("{table}", table)
            .replace("{ttl_days}", &self.ttl_days.to_string())
            .replace("{ledger_ttl_days}", &self.ledger_ttl_days.to_string())
            .replace("{deduplication_window}", window);
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
