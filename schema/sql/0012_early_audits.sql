-- A verdict keeps that an audit of its window came before the end of its own time: the clock of the edge was ahead. The audit may be sent again
-- later, and hot then has only the later time.
--! in hot for verdicts
ALTER TABLE {database}.{table}{on_cluster}
    ADD COLUMN IF NOT EXISTS `is_early` Bool CODEC(ZSTD(1)) AFTER `stored_ids`
