"""A search of the embedded index, from what somebody wrote to files with fragments. Blocking code."""

from __future__ import annotations

import time
from typing import Final

from mosaicfs_core.hooks import Fragment
from mosaicfs_fulltext.backend import Result
from mosaicfs_fulltext.index.analysis import terms
from mosaicfs_fulltext.index.engine import Damaged, Engine, Found, guarded
from mosaicfs_fulltext.language import LIKELIEST, PLAIN
from mosaicfs_fulltext.query.build import build
from mosaicfs_fulltext.query.highlight import fragments
from mosaicfs_fulltext.query.syntax import Node, parse, plain_words

MOST_RESULTS: Final = 1_000


def ask(engine: Engine, text: str, limit: int, deadline: float) -> list[Result]:
    """The best files, best first. Fragments are left out once the ``deadline`` (monotonic seconds) has passed.

    A query that the index refuses is asked again as plain words. Raises ``Damaged`` when those are refused as well.
    """
    node = parse(text)
    most = max(0, min(limit, MOST_RESULTS))
    if node is None or most == 0:
        return []
    try:
        found = _search(engine, node, most)
    except Damaged:
        node = plain_words(text)
        if node is None:
            return []
        found = _search(engine, node, most)
    return [_result(engine, one, node, deadline) for one in found]


def _search(engine: Engine, node: Node, limit: int) -> list[Found]:
    languages = engine.languages()
    query = guarded(lambda: build(node, languages, engine.beginning))
    return engine.search(query, limit) if query is not None else []


def _result(engine: Engine, found: Found, node: Node, deadline: float) -> Result:
    entry = found.entry
    pieces: tuple[Fragment, ...] = ()
    if found.packed and time.monotonic() < deadline:
        # What is in no language is looked for in the forms of one that stems gently.
        analyzed = LIKELIEST if entry.language == PLAIN else entry.language
        pieces = fragments(engine.text(found), node, entry.language, lambda word: terms(analyzed, word))
    return Result(
        file_id=entry.file_id, score=found.score, fragments=pieces, title=entry.title, language=entry.language
    )
