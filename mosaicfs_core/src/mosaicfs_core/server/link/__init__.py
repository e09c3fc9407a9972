"""The control plane's side of its agents: their links, whether they are there, and bytes relayed through it."""
