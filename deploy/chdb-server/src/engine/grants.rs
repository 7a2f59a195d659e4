//! Rights of the only user, as the engine's users file. Whatever has an access type and is not granted is refused: sources (`file`,
//! `url`, `remote`, `s3`, `mysql`, ...), dictionaries, functions, named collections, backups, users, most of `SYSTEM`.

const RIGHTS: &str = "SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SHOW DICTIONARIES, SELECT, INSERT, CHECK, \
     ALTER UPDATE, ALTER DELETE, ALTER COLUMN, ALTER INDEX, ALTER STATISTICS, ALTER PROJECTION, ALTER CONSTRAINT, ALTER TTL, \
     ALTER SETTINGS, ALTER MODIFY COMMENT, ALTER MOVE PARTITION, ALTER VIEW, ALTER DATABASE, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP DATABASE, \
     DROP TABLE, DROP VIEW, UNDROP TABLE, TRUNCATE, OPTIMIZE, KILL QUERY, SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM MOVES, \
     SYSTEM VIEWS, SYSTEM FLUSH, SYSTEM DROP CACHE";

/// Settings that name files, hosts or disks, that are parsed as expressions, or that choose another language. Fixed at their defaults.
const FIXED: [&str; 15] = [
    "additional_result_filter",
    "additional_table_filters",
    "allow_experimental_ai_functions",
    "allow_introspection_functions",
    "dialect",
    "format_avro_schema_registry_url",
    "format_template_resultset",
    "format_template_row",
    "input_format_record_errors_file_path",
    "merge_tree_disk",
    "merge_tree_storage_policy",
    "output_format_schema",
    "parallel_replicas_custom_key",
    "rename_files_after_processing",
    "schema_inference_hints",
];

/// The users file. `more`: further rights; without an object they apply to all.
pub(super) fn users(more: &[String]) -> String {
    let mut grants = format!("<query>GRANT {RIGHTS} ON *.*</query>");
    for right in more {
        let object = if right.to_ascii_uppercase().contains(" ON ") { "" } else { " ON *.*" };
        grants.push_str(&format!("<query>GRANT {right}{object}</query>"));
    }
    // Edge, central and broker share the processors, and most queries are small: threads that format results beside the query cost a
    // third of one. A request that needs more sets `max_threads` and `output_format_parallel_formatting` itself.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let fixed: String = FIXED.iter().map(|name| format!("<{name}><const/></{name}>")).collect();
    format!(
        "<clickhouse>\n\
         <profiles><default>\n\
         <allow_introspection_functions>0</allow_introspection_functions>\n\
         <format_schema_source>string</format_schema_source>\n\
         <max_threads>{threads}</max_threads>\n\
         <output_format_parallel_formatting>0</output_format_parallel_formatting>\n\
         <constraints>{fixed}<format_schema_source><const/></format_schema_source></constraints>\n\
         </default></profiles>\n\
         <quotas><default/></quotas>\n\
         <users><default><password></password><networks><ip>::/0</ip></networks>\
         <profile>default</profile><quota>default</quota>\n\
         <grants>{grants}</grants>\n\
         </default></users>\n\
         </clickhouse>\n"
    )
}
