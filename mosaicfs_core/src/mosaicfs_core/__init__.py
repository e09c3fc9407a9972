"""The plugin host of MosaicFS: documents, store, rules, hooks, agent, server and command line."""
