"""CouchDB's replication protocol over one replica: what a reader sees, feeds, batches, and its own form of errors."""
