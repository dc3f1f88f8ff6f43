"""The embedded runner: a search on one machine, its state a directory of the documents that a cluster holds."""
