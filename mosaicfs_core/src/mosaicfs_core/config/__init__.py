"""The configuration: ``mosaicfs.toml`` in the home, overridden by ``MOSAICFS_{SECTION}_{KEY}`` in the environment.

Every value has a default and a check. A wrong one raises ``ConfigError`` that names the file, the line, the key and
what was expected; a wrong variable is named instead. ``FIELDS`` is the whole list, for the documentation and its test.
"""

from mosaicfs_core.config.fields import FIELDS, HUB_PASSWORD, LEVELS, Field
from mosaicfs_core.config.reading import hidden_problems, line_of, load, where_set, with_hub
from mosaicfs_core.config.sections import (
    REFUSED_PROGRAMS,
    AgentConfig,
    CacheConfig,
    Config,
    HubConfig,
    LoggingConfig,
    MountConfig,
    ServerConfig,
)

__all__ = [
    "FIELDS",
    "HUB_PASSWORD",
    "LEVELS",
    "REFUSED_PROGRAMS",
    "AgentConfig",
    "CacheConfig",
    "Config",
    "Field",
    "HubConfig",
    "LoggingConfig",
    "MountConfig",
    "ServerConfig",
    "hidden_problems",
    "line_of",
    "load",
    "where_set",
    "with_hub",
]
