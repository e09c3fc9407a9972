"""Queries as people write them: read, asked of the index, and shown in the texts that they found."""
