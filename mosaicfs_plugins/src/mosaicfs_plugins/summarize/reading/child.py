"""The process that reads one document: a JSON object on its standard input, one on its standard output.

It is run as a file, without the ``site`` module and with the import path in what it is given, since most of what it
would cost otherwise is its start. Its limits are those of the operating system, which hold also when the process that
started it is gone.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

_GRACE_S: Final = 5


def main() -> None:
    """Read the wish, answer it, end."""
    given = json.load(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints is no answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path[:] = given["path"]
    with answers:
        answers.write(answer(given))


def answer(given: dict[str, Any]) -> bytes:
    """Limit this process, for good, and read the document in it."""
    from mosaicfs_core.hooks.reading import limit_reader

    # Whoever waits ends it sooner; this is for the time when nobody does.
    limit_reader(given["memory_mb"], given["max_seconds"] + _GRACE_S)
    try:
        found = _read(given)
    except (OSError, MemoryError) as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        found = {"gone": gone, "error": said}
    return json.dumps(found).encode()


def _read(given: dict[str, Any]) -> dict[str, Any]:
    from mosaicfs_plugins.summarize.reading.documents import read
    from mosaicfs_plugins.summarize.reading.gist import gist

    # The path may have come through JSON, in which a byte that is no UTF-8 stands as a lone surrogate.
    document = read(Path(given["file"]), given["mime_type"], given["max_file_bytes"])
    facts = {name: given[name] for name in ("max_sentences", "max_keywords", "languages")}
    said = gist(document, **facts)
    return {
        **said,
        "page_count": document.page_count,
        "problem": document.problem,
        "text": document.text[: given["text_characters"]],
    }


if __name__ == "__main__":
    main()
