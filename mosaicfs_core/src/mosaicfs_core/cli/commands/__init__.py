"""The core's commands, one module a group; each has ``register(cli, context)``."""
