"""Everything that knows a table, a bucket or a file."""
