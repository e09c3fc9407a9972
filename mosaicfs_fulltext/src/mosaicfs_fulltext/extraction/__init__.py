"""Text out of files: plain text is decoded here, documents are read in child processes that can be killed."""
