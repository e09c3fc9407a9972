"""What to do with a file, by its name and MIME type. Pure.

``text``: decode it. ``document``: have a library read it, told the MIME type. ``nothing``: it holds no text. ``look``:
nobody knows; decode it when its beginning looks like text.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Way = Literal["text", "document", "nothing", "look"]


class Kind(NamedTuple):
    """How to read a file; ``mime_type`` is there for documents."""

    way: Way
    mime_type: str = ""


_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_OPEN: Final = "application/vnd.oasis.opendocument."

_DOCUMENTS: Final = {
    "pdf": "application/pdf",
    "docx": _OFFICE + "wordprocessingml.document",
    "docm": "application/vnd.ms-word.document.macroEnabled.12",
    "dotx": _OFFICE + "wordprocessingml.template",
    "doc": "application/msword",
    "xlsx": _OFFICE + "spreadsheetml.sheet",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "xls": "application/vnd.ms-excel",
    "pptx": _OFFICE + "presentationml.presentation",
    "ppsx": _OFFICE + "presentationml.slideshow",
    "ppt": "application/vnd.ms-powerpoint",
    "odt": _OPEN + "text",
    "ods": _OPEN + "spreadsheet",
    "odp": _OPEN + "presentation",
    "odg": _OPEN + "graphics",
    "rtf": "application/rtf",
    "html": "text/html",
    "htm": "text/html",
    "xhtml": "application/xhtml+xml",
    "eml": "message/rfc822",
    "msg": "application/vnd.ms-outlook",
    "epub": "application/epub+zip",
    "fb2": "application/x-fictionbook+xml",
    "ipynb": "application/x-ipynb+json",
}
_TEXT_ENDINGS: Final = """
    txt text md markdown rst adoc org tex bib log csv tsv json jsonl yaml yml toml ini cfg conf properties env xml
    xsd xsl svg sql sh bash zsh fish ps1 bat cmd py pyi rb pl pm php lua r jl m js mjs cjs ts tsx jsx vue svelte css
    scss less java kt kts scala groovy clj c h cc cpp cxx hpp hh cs fs go rs swift dart zig nim hs ml mli ex exs erl
    lisp el scm vim mk cmake gradle dockerfile diff patch po pot srt vtt ics vcf tf proto graphql asm s v vhd sv f90
    f pas nfo me
"""
_NOTHING: Final = ("image/", "audio/", "video/", "font/")
_TEXT_APPLICATIONS: Final = """
    application/json application/xml application/javascript application/x-sh application/x-shellscript
    application/sql application/yaml application/x-yaml application/toml application/x-python application/x-perl
    application/x-tex application/x-latex application/x-httpd-php application/x-ruby application/x-subrip
    application/x-csh application/rdf+xml application/rss+xml application/atom+xml application/x-ndjson
"""
_TEXTS: Final = frozenset(_TEXT_ENDINGS.split())
_TEXT_TYPES: Final = frozenset(_TEXT_APPLICATIONS.split())
_BY_TYPE: Final = {mime_type: mime_type for mime_type in _DOCUMENTS.values()} | {
    "text/rtf": "application/rtf",
    "application/x-pdf": "application/pdf",
}


def kind_of(name: str, mime_type: str | None) -> Kind:
    """How to read a file of this name and type. The name's ending goes before the type, which is guessed from it as a
    rule and sometimes badly (a ``.ts`` file is no video)."""
    stem, dot, ending = name.rpartition(".")
    ending = ending.lower() if dot and stem else ""
    if ending in _DOCUMENTS:
        return Kind("document", _DOCUMENTS[ending])
    if ending in _TEXTS:
        return Kind("text")
    plain_type = (mime_type or "").partition(";")[0].strip().lower()
    if plain_type in _BY_TYPE:
        return Kind("document", _BY_TYPE[plain_type])
    if plain_type.startswith("text/") or plain_type in _TEXT_TYPES or plain_type.endswith(("+xml", "+json")):
        return Kind("text")
    if plain_type.startswith(_NOTHING):
        return Kind("nothing")
    return Kind("look")
