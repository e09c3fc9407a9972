"""The embedded index: tantivy on disk, a journal before it, and the pipeline that feeds both."""
