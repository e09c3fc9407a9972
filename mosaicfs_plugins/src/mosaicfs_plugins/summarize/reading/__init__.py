"""Text out of documents and sentences out of text, in a process that can be killed."""
