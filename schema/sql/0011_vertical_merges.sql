-- Large merges of trades and quotes go column by column: rows of the sorting key are compared once, and the other columns are copied in runs. By default the
-- engine does so above 11 such columns only. README: merges.
--! in hot cold for trades quotes
ALTER TABLE {database}.{table}{on_cluster}
    MODIFY SETTING vertical_merge_algorithm_min_columns_to_activate = 1
