"""Who speaks to whom, and how each proves itself."""
