"""From what a program prints of a crawl to file operations. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from mosaicfs_core.hooks import FileOperation, UserError
from mosaicfs_core.hooks.wire import operation_of
from mosaicfs_plugins.external.execution import OUTPUT_LIMIT


class Printed:
    """Takes lines in their order: each an operation, or an object ``{"files": […]}`` of several. One that is no JSON by
    itself begins an object over several lines, which is whole at the end."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def add(self, line: bytes) -> list[FileOperation]:
        """The operations of a line. Raises ``UserError`` for what is none, or too much for one object."""
        if self._begun:
            self._begun += line
            if len(self._begun) > OUTPUT_LIMIT:
                raise UserError(f"an object over several lines has more than {OUTPUT_LIMIT:,} bytes")
            return []
        try:
            return _operations(msgspec.json.decode(line)) if line.strip() else []
        except RecursionError as error:
            raise UserError(str(error)) from None
        except msgspec.DecodeError:
            self._begun += line
            return []

    def rest(self) -> list[FileOperation]:
        """The operations of the object that had begun. Raises ``UserError``."""
        if not self._begun:
            return []
        try:
            return _operations(msgspec.json.decode(bytes(self._begun)))
        except (msgspec.DecodeError, RecursionError) as error:
            raise UserError(str(error)) from None


def _operations(body: Any) -> list[FileOperation]:
    files = body["files"] if isinstance(body, dict) and "files" in body else body
    return [operation_of(one) for one in (files if isinstance(files, list) else [files])]
