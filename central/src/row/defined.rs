//! For tests: columns of a table according to its definition.

use marketprism_schema::{DatabaseKind, Layout, Migration};

use super::Column;

pub fn defined(table: &str) -> Vec<(String, String)> {
    let layout =
        Layout { kind: DatabaseKind::Hot, database: "db", ttl_days: 3, ledger_ttl_days: 35, cluster: None };
    let statements = Migration::ALL.iter().flat_map(|migration| migration.statements(&layout));
    let ddl = statements.into_iter().find(|statement| statement.table == table).unwrap().sql;
    let columns = ddl.split_once("\n(\n").unwrap().1.split_once("\n)\n").unwrap().0;
    // A type may continue on the next line.
    let lines: Vec<&str> = columns.lines().map(str::trim).collect();
    let joined = lines.join(" ");
    joined
        .split('`')
        .skip(1)
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|column| {
            let [name, rest] = column else { panic!("{column:?}") };
            let kind = rest.split(" CODEC(").flat_map(|rest| rest.split(" INDEX ")).next().unwrap();
            ((*name).to_owned(), kind.trim().trim_end_matches(',').to_owned())
        })
        .collect()
}

pub fn owned(columns: &[Column]) -> Vec<(String, String)> {
    columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}
