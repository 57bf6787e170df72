"""What a sweep tells: tables, pictures and one page of its ``results.parquet``."""
