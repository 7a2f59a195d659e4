//! For tests: columns of a table according to its definition.

use marketprism_schema::{DatabaseKind, Layout, Migration};

use super::Column;

pub fn defined(table: &str) -> Vec<(String, String)> {
    let layout =
        Layout { kind: DatabaseKind::Hot, database: "db", ttl_days: 3, ledger_ttl_days: 35, cluster: None };
    let statements = Migration::ALL.iter().flat_map(|migration| migration.statements(&layout));
    let mut of_table = statements.filter(|statement| statement.table == table).map(|statement| statement.sql);
    let ddl = of_table.next().unwrap();
    let columns = ddl.split_once("\n(\n").unwrap().1.split_once("\n)\n").unwrap().0;
    // A type may continue on the next line.
    let lines: Vec<&str> = columns.lines().map(str::trim).collect();
    let joined = lines.join(" ");
    let column = |name: &str, rest: &str| {
        let kind = rest.split(" CODEC(").flat_map(|rest| rest.split(" INDEX ")).next().unwrap();
        (name.to_owned(), kind.trim().trim_end_matches(',').to_owned())
    };
    let quoted: Vec<&str> = joined.split('`').skip(1).collect();
    let mut columns: Vec<_> = quoted.chunks(2).map(|part| column(part[0], part[1])).collect();
    for added in of_table.filter(|sql| sql.contains("ADD COLUMN")) {
        let [_, name, rest, before, _] = added.split('`').collect::<Vec<_>>()[..] else { panic!("{added}") };
        let place = columns.iter().position(|(name, _)| name == before).unwrap();
        columns.insert(place + 1, column(name, rest));
    }
    columns
}

pub fn owned(columns: &[Column]) -> Vec<(String, String)> {
    columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}
