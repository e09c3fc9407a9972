"""The fields of the index, and files as documents of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from tantivy import Document, Index, Schema, SchemaBuilder

from mosaicfs_fulltext.entries import Entry
from mosaicfs_fulltext.index.analysis import NAMES, analyzers
from mosaicfs_fulltext.language import LANGUAGES, PLAIN, UNSPACED

FORMAT: Final = 2
"""Raised when indexes of before cannot be used any more."""

ID: Final = "id"
STATUS: Final = "status"
LANGUAGE: Final = "language"
ENDING: Final = "ending"
NAME: Final = "name"
TITLE: Final = "title"
PATH: Final = "path"
_FACTS: Final = "facts"
_TEXT: Final = "text"
_BODIES: Final = {language: f"body_{language}" for language in (*LANGUAGES, PLAIN, UNSPACED)}

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def body(language: str) -> str:
    """The field that holds the text of files in a language."""
    return _BODIES[language]


@lru_cache(maxsize=1)
def schema() -> Schema:
    """One field per language for the text, so that each has its stems; the text itself is kept compressed beside the
    facts, for showing what was found."""
    builder = SchemaBuilder()
    for name in (ID, STATUS, LANGUAGE, ENDING):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in (NAME, TITLE, PATH):
        builder.add_text_field(name, tokenizer_name=NAMES, index_option="position")
    for language, name in _BODIES.items():
        builder.add_text_field(name, tokenizer_name=language, index_option="position")
    builder.add_bytes_field(_FACTS, stored=True)
    builder.add_bytes_field(_TEXT, stored=True)
    return builder.build()


def register(index: Index) -> None:
    """Tell an index how its fields are analyzed."""
    for name, analyzer in analyzers().items():
        index.register_tokenizer(name, analyzer)


def document_of(entry: Entry, text: str, packed: bytes) -> Document:
    """The document of a file with its text, and that as it is kept."""
    document = Document()
    document.add_text(ID, entry.file_id)
    document.add_text(STATUS, entry.status)
    document.add_text(LANGUAGE, entry.language)
    document.add_text(ENDING, entry.name.rpartition(".")[2].lower())
    document.add_text(NAME, entry.name)
    document.add_text(PATH, entry.path.rpartition("/")[0])
    if entry.title:
        document.add_text(TITLE, entry.title)
    if text:
        document.add_text(_BODIES[entry.language], text)
        document.add_bytes(_TEXT, packed)
    document.add_bytes(_FACTS, _encode(msgspec.structs.replace(entry, packed=b"")))
    return document


def entry_in(document: Document) -> Entry:
    """The file that a document is of, without its text."""
    return _decode(bytes(document.get_first(_FACTS) or b""))


def packed_text(document: Document) -> bytes:
    """The file's text as it is kept."""
    return bytes(document.get_first(_TEXT) or b"")


def languages() -> tuple[str, ...]:
    """Every language that a text can be in here."""
    return tuple(_BODIES)
