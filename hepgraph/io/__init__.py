"""Sources: columns of ROOT files, Parquet files, memory."""
