"""``mosaicfs vfs edit``: a directory's fields as JSON, from a file or an editor that opens until they are accepted."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.errors import Conflict, MosaicError, Stale, UserError
from mosaicfs_core.similar import similar
from mosaicfs_vfs.namespace.edits import EDITABLE

if TYPE_CHECKING:
    from mosaicfs_core.hooks import CommandContext

# What ``vfs show --json`` prints beside the fields that can be set: its output may be given back as it is.
_SHOWN: Final = frozenset(
    {"path", "name", "parent_path", "inode", "system", "created_at", "inherited_steps", "warnings"}
)


def edit(context: CommandContext, path: str) -> dict[str, Any] | None:
    """Open the editor until what it gives is accepted; None when nothing was changed.

    What was typed is never lost: when it cannot be saved, it is kept in a file that the error names.
    """
    document, etag = context.api.get_with_etag("vfs/directory", path=path)
    original = pretty({name: document.get(name) for name in EDITABLE})
    text, shown = original, original
    while True:
        try:
            edited = _ask(shown)
            if edited is None or _bare(edited) == _bare(original):
                context.say("nothing was changed")
                return None
            given_up = shown != original and _bare(edited) == _bare(text)
            text = edited
            return save(context, path, fields_of(parse(edited)), etag)
        except Stale:
            raise _kept(
                Conflict(f"{path} was changed by someone else while you edited it; edit it again"), text
            ) from None
        except UserError as error:
            if given_up:
                raise _kept(error, text) from None
            shown = _with_comment(error.message, _bare(text))
        except MosaicError as error:
            raise _kept(error, text) if _bare(text) != _bare(original) else error from None


def save(context: CommandContext, path: str, fields: dict[str, Any], etag: str | None = None) -> dict[str, Any]:
    """Set the fields; the directory as it is then. Raises ``Stale`` when it is not the version of ``etag`` any more."""
    answer: dict[str, Any] = context.api.send("PATCH", "vfs/directory", fields, if_match=etag, path=path)
    return answer


def parse(text: str) -> Any:
    """The text as JSON; lines that begin with ``//`` are left out. Raises ``UserError``."""
    try:
        return json.loads(_bare(text))
    except ValueError as error:
        raise UserError(f"this is not JSON: {error}") from None


def fields_of(given: Any) -> dict[str, Any]:
    """What may be set, from a list of mounts, an object of fields, or what ``vfs show --json`` prints.

    Raises ``UserError`` for anything else, and for a key that is not known: it would be dropped.
    """
    if isinstance(given, list):
        if not given:
            raise UserError('expected at least one mount; to remove all mounts give {"mounts": []}')
        return {"mounts": given}
    if not isinstance(given, dict):
        raise UserError("expected a JSON object with mounts and steps, or a list of mounts")
    for key in given:
        if key not in EDITABLE and key not in _SHOWN:
            near = similar(key, EDITABLE)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(EDITABLE)}"
            raise UserError(f"{key}: unknown key; {hint}")
    fields = {name: given[name] for name in EDITABLE if name in given}
    if not fields:
        raise UserError(f"expected at least one of {', '.join(EDITABLE)}")
    return fields


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


class _EditorFailed(MosaicError):
    """The editor could not be started, or ended with an error."""

    code = "editor_failed"


def _ask(text: str) -> str | None:
    try:
        return click.edit(text, extension=".json")
    except click.ClickException as error:
        raise _EditorFailed(
            f"the editor failed: {error.message}; set EDITOR to one that works, or use --file"
        ) from None


def _kept(error: MosaicError, text: str) -> MosaicError:
    """The error, saying where what was typed is."""
    handle, name = tempfile.mkstemp(prefix="mosaicfs-edit-", suffix=".json")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(_bare(text))
    error.args = (f"{error.message} (your text is in {name}; mend it and give it with --file)",)
    error.message = str(error)
    return error


def _bare(text: str) -> str:
    """The text without the lines that begin with ``//``."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//")).strip() + "\n"


def _with_comment(message: str, text: str) -> str:
    lines = [f"// {line}" for line in message.splitlines()]
    return "\n".join([*lines, "// Mend it and save, or leave without a change to give up.", text])
