//! Words that are names only in backquotes: the reserved keywords of the server's manual.

/// Whether a lower-case word is reserved.
pub(super) fn is_keyword(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| KEYWORDS.binary_search(&word).is_ok())
}

/// Sorted.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "_c0", "_irowts", "_qduration", "_qend", "_qstart", "_rowts", "_wduration", "_wend", "_wstart", "abort",
    "account", "accounts", "add", "after", "aggregate", "alias", "alive", "all", "alter", "analyze", "and", "anode",
    "anodes", "anomaly_window", "anti", "apps", "arbgroups", "arrow", "as", "asc", "asof", "assign", "async",
    "at_once", "attach", "auto", "balance", "before", "begin", "between", "bigint", "bin", "binary", "bitand",
    "bitnot", "bitor", "blob", "blocks", "bnode", "bnodes", "bool", "both", "buffer", "bufsize", "bwlimit", "by",
    "cache", "cachemodel", "cachesize", "case", "cast", "change", "child", "client_version", "cluster", "colon",
    "cols", "column", "comma", "comment", "comp", "compact", "compact_interval", "compact_time_offset",
    "compact_time_range", "compacts", "composite", "concat", "conflict", "connection", "connections", "conns",
    "consumer", "consumers", "contains", "continuous_window_close", "copy", "count", "count_window", "create",
    "createdb", "current_user", "database", "databases", "dbs", "decimal", "deferred", "delete", "delete_mark",
    "delimiters", "desc", "describe", "detach", "disk_info", "distinct", "distributed", "divide", "dnode", "dnodes",
    "dot", "double", "drop", "duration", "each", "else", "enable", "encrypt_algorithm", "encrypt_key", "encryptions",
    "end", "eq", "event_window", "every", "except", "exists", "expired", "explain", "fail", "false", "fhigh", "file",
    "fill", "fill_history", "first", "float", "flow", "flush", "for", "force", "force_window_close", "from", "frowts",
    "full", "function", "functions", "ge", "geometry", "glob", "grant", "grants", "group", "gt", "having", "hex",
    "host", "id", "if", "ignore", "illegal", "immediate", "import", "in", "index", "indexes", "initially", "inner",
    "insert", "instead", "int", "integer", "intersect", "interval", "into", "iptoken", "irowts", "irowts_origin",
    "is", "is_import", "isfilled", "isnull", "jlimit", "join", "json", "keep", "keep_time_offset", "key", "kill",
    "language", "last", "last_row", "le", "leader", "leading", "left", "licences", "like", "limit", "linear", "local",
    "logs", "lp", "lshift", "lt", "machines", "match", "max_delay", "maxrows", "mediumblob", "merge", "meta",
    "meta_only", "minrows", "minus", "mnode", "mnodes", "modify", "modules", "nchar", "ne", "next", "nmatch", "none",
    "normal", "not", "notify", "notify_history", "notnull", "now", "null", "null_f", "nulls", "of", "offset", "on",
    "on_failure", "only", "or", "order", "outer", "outputtype", "pages", "pagesize", "partition", "pass", "pause",
    "pi", "plus", "port", "position", "pps", "precision", "prev", "primary", "privilege", "privileges", "qduration",
    "qend", "qnode", "qnodes", "qstart", "qtags", "qtime", "queries", "query", "question", "raise", "rand", "range",
    "ratio", "read", "recursive", "redistribute", "regexp", "rem", "replace", "replica", "replicas", "reset",
    "restore", "restrict", "resume", "retentions", "revoke", "right", "rollup", "row", "rowts", "rp", "rshift",
    "schemaless", "scores", "select", "semi", "server_status", "server_version", "session", "set", "show",
    "single_stable", "slash", "sliding", "slimit", "sma", "smallint", "smigrate", "snode", "snodes", "soffset",
    "split", "ss_chunkpages", "ss_compact", "ss_keeplocal", "ssmigrate", "stable", "stables", "star", "start",
    "state", "state_window", "statement", "storage", "stream", "streams", "strict", "string", "stt_trigger",
    "subscribe", "subscriptions", "substr", "substring", "subtable", "sysinfo", "system", "table", "table_prefix",
    "table_suffix", "tables", "tag", "tags", "tbname", "then", "times", "timestamp", "timezone", "tinyint", "to",
    "today", "topic", "topics", "trailing", "transaction", "transactions", "trigger", "trim", "true", "true_for",
    "tsdb_pagesize", "tseries", "tsma", "tsmas", "ttl", "union", "unsafe", "unsigned", "untreated", "update", "use",
    "user", "users", "using", "value", "value_f", "values", "varbinary", "varchar", "variable", "variables",
    "verbose", "vgroup", "vgroups", "view", "views", "vnode", "vnodes", "wal", "wal_fsync_period", "wal_level",
    "wal_retention_period", "wal_retention_size", "wal_roll_period", "wal_segment_size", "watermark", "wduration",
    "wend", "when", "where", "window", "window_close", "window_offset", "with", "write", "wstart",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(KEYWORDS.is_sorted());
        assert!(is_keyword(b"value") && !is_keyword(b"loc"));
    }
}
