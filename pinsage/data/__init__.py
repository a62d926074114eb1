"""From a user's raw tables to numbered, split interactions and training pairs.

    sources ─► snapshot ─► ingest ─► split ─► pairs            fetch: official archives, on request

`times` and `columns` convert values; `tables` says what a source must offer, and `csv_table`,
`parquet_table` and `sql_table` offer it. Times are int64 µs since 1970-01-01 UTC throughout.
"""
