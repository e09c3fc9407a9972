"""The values of the configuration and their defaults, a class for each section."""

from __future__ import annotations

from typing import Final

import msgspec

REFUSED_PROGRAMS: Final = (
    "baloo_file",
    "baloo_file_extractor",
    "evince-thumbnailer",
    "ffmpegthumbnailer",
    "gdk-pixbuf-thumbnailer",
    "glycin-thumbnailer",
    "gnome-thumbnail-font",
    "gsf-office-thumbnailer",
    "kioslave",
    "kio-thumbnail",
    "localsearch-3",
    "localsearch-extractor-3",
    "recollindex",
    "thumbnail.so",
    "totem-video-thumbnailer",
    "tracker-extract-3",
    "tracker-miner-fs-3",
    "tumblerd",
    "updatedb",
    "updatedb.mlocate",
    "updatedb.plocate",
)
"""Programs that open every file they come across: they draw icons or build indexes of their own."""


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[server]``: where the API and the pages are served. ``tls`` is ``auto`` (beyond loopback), ``on`` or ``off``;
    ``names`` are further names and addresses that its certificate is for."""

    host: str = "127.0.0.1"
    port: int = 6672
    tls: str = "auto"
    names: tuple[str, ...] = ()


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[agent]``: this machine's name, when its full crawl begins (local time ``HH:MM``, empty: never), plugins that
    are not even imported, where other machines fetch its files (``listen_host``, ``listen_port``) and the addresses
    that they are told for it (``endpoints``, found out when empty), and the port of its own API on loopback."""

    name: str = ""
    nightly_crawl: str = "03:00"
    disabled_plugins: tuple[str, ...] = ()
    listen_host: str = "0.0.0.0"
    listen_port: int = 6673
    endpoints: tuple[str, ...] = ()
    api_port: int = 6674


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[cache]``: how much of other machines' files is kept on this one's disk, and what is left free there."""

    max_bytes: int = 10_000_000_000
    min_free_bytes: int = 1_000_000_000


class MountConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[mount]``: which programs get no bytes over the network, and how many everybody gets per minute (0: any)."""

    refuse_programs: tuple[str, ...] = REFUSED_PROGRAMS
    remote_bytes_per_minute: int = 0


class HubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[hub]``: the CouchDB database that this control plane shares with others, and how to sign in there. The
    password comes from the variable ``MOSAICFS_HUB_PASSWORD`` or from ``password_file`` (relative to the home)."""

    url: str = ""
    user: str = ""
    password_file: str = "hub_password"
    ca_file: str = ""


class LoggingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``[logging]``: ``rotate_bytes`` and ``keep`` bound the log; ``format`` is ``auto``, ``human`` or ``json``."""

    level: str = "info"
    format: str = "auto"
    rotate_bytes: int = 50_000_000
    keep: int = 5


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All sections."""

    server: ServerConfig = ServerConfig()
    agent: AgentConfig = AgentConfig()
    cache: CacheConfig = CacheConfig()
    mount: MountConfig = MountConfig()
    hub: HubConfig = HubConfig()
    logging: LoggingConfig = LoggingConfig()
