"""Image-text sources built from ordinary packages (apt, npm, pip): Parquet files and a manifest of their origin."""
