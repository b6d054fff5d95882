"""Reading image-text data: Parquet rows, splits by digest, decoding, captions and augmentation."""
