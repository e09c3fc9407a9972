"""The plugin host: discovery, dispatch, settings, contexts and instances."""
