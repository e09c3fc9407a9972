"""Structured logs: one record, one set of field names, human on a terminal and JSON lines otherwise.

Fields travel as ``extra`` of the standard library's calls: ``logger.info("crawled", extra={"operation": "crawl",
"duration_ms": 12})``. The names used everywhere: node_id, file_id, plugin, operation, duration_ms, error. Secrets never
reach a handler: what looks like one is replaced before formatting.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import re
import sys
from pathlib import Path
from typing import Any, Final, TextIO

from mosaicfs_core.config import LoggingConfig
from mosaicfs_core.documents.times import format_time
from mosaicfs_core.printing import printable

FIELDS: Final = ("node_id", "file_id", "plugin", "operation", "duration_ms", "error")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS: Final = re.compile(
    r"mosaicfs[a-z]?_[A-Za-z0-9_-]{43}"  # a secret access key, and the other tokens of ours by their prefixes
    r"|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"  # a JWT
    r"|(?i:(?<=bearer )[^\s,;'\"]+)"
    r"|(?i:(?<=authorization: basic )[^\s,;'\"]+)"
    r"|(?<=://)[^\s/@:]*:[^\s/@]*(?=@)"  # user and password in an address
    r"|(?i:(?<=signature=)[^\s,;'\"]+)"
    r"|(?i:(?<=bootstrap=)[^\s&,;'\"]+)"
    r"|(?i:(?<=mosaicfs_refresh=)[^\s,;'\"]+)"
    r"|\$argon2id?\$[^\s'\"]+"
    r"|(?i:(?<=[?&]token=)[^\s&'\"]+)"
)
_SECRET_NAME: Final = re.compile(r"(?i)secret|password|passphrase|token|signing_key|authorization|cookie")
HIDDEN: Final = "[hidden]"


def redact(text: str) -> str:
    """``text`` with everything that looks like a secret of ours replaced."""
    return _SECRETS.sub(HIDDEN, text)


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The structured fields of a record, secrets hidden by name and by look."""
    fields: dict[str, Any] = {}
    for name, value in record.__dict__.items():
        if name in _STANDARD or name.startswith("_"):
            continue
        if _SECRET_NAME.search(name):
            value = HIDDEN
        elif not isinstance(value, int | float | bool | type(None)):
            value = redact(str(value))
        fields[name] = value
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields; a traceback under ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": format_time(int(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **extra_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """``12:00:00 warning store: message  key=value``, then a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix("mosaicfs_core.").removeprefix("mosaicfs.")
        clock = self.formatTime(record, "%H:%M:%S")
        line = f"{clock} {record.levelname.lower():7} {name}: {printable(redact(record.getMessage()))}"
        fields = "  ".join(f"{key}={printable(str(value))}" for key, value in extra_fields(record).items())
        if fields:
            line = f"{line}  {fields}"
        if record.exc_info:
            line = f"{line}\n{redact(self.formatException(record.exc_info))}"
        return line


class PrivateRotatingFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read."""

    def _open(self) -> Any:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # As standard error does it: a traceback may name a path that is not UTF-8.
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """Let a line go when the disk is full: standard error has it too, and a traceback for each helps nobody."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def configure(config: LoggingConfig, directory: Path | None = None, stream: TextIO | None = None) -> None:
    """Set the root logger up, replacing what an earlier call had set: ``stream`` (default: standard error) in the
    configured format and, with a ``directory``, ``mosaicfs.log`` there in JSON."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if getattr(h, "mosaicfs", False)]:
        root.removeHandler(handler)
        handler.close()
    target = sys.stderr if stream is None else stream
    human = config.format == "human" or (config.format == "auto" and target.isatty())
    _attach(root, logging.StreamHandler(target), HumanFormatter() if human else JsonFormatter())
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = PrivateRotatingFileHandler(
            directory / "mosaicfs.log", maxBytes=config.rotate_bytes, backupCount=config.keep, encoding="utf-8"
        )
        _attach(root, file, JsonFormatter())
    set_level(config.level)


def set_level(level: str) -> None:
    """Change the level at run time: ``debug``, ``info``, ``warning`` or ``error``. Foreign loggers stay at warning."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    for name in ("mosaicfs", "mosaicfs_core", "mosaicfs_vfs", "mosaicfs_plugins"):
        logging.getLogger(name).setLevel(level.upper())
    if level == "debug":
        for name in ("asyncio", "watchdog", "hpack"):
            logging.getLogger(name).setLevel(logging.INFO)


def _attach(root: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    handler.mosaicfs = True  # type: ignore[attr-defined]  # a mark of ours: these are replaced
    root.addHandler(handler)
