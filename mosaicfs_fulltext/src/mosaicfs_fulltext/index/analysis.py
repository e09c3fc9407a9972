"""How texts become terms, in each language: the analyzers of the index, and of queries and highlights alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from mosaicfs_fulltext.language import LANGUAGES, PLAIN, UNSPACED

NAMES: Final = "names"
"""The analyzer of names, titles and paths, which are in no language."""

_LONGEST: Final = 80
_NO_SPACES: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_UNSPACED_WORDS: Final = rf"[{_NO_SPACES}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_NO_SPACES}]]+"
_STEMMERS: Final = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}


@lru_cache(maxsize=1)
def analyzers() -> dict[str, TextAnalyzer]:
    """By language (``PLAIN`` and ``UNSPACED`` among them) and ``NAMES``."""
    found = {language: _analyzer(Tokenizer.simple(), _STEMMERS[language]) for language in LANGUAGES}
    found[PLAIN] = _analyzer(Tokenizer.simple(), None)
    found[UNSPACED] = found[NAMES] = _analyzer(Tokenizer.regex(_UNSPACED_WORDS), None)
    return found


def terms(language: str, text: str) -> list[str]:
    """The terms that a text becomes."""
    return analyzers()[language].analyze(text)


def same_stem(languages: Iterable[str], word: str, other: str) -> bool:
    """Whether two words (as terms of ``PLAIN``) have one stem in any of these languages."""
    return any(terms(language, word) == terms(language, other) for language in languages)


def _analyzer(tokenizer: Tokenizer, stemmer: str | None) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(tokenizer).filter(Filter.remove_long(_LONGEST)).filter(Filter.lowercase())
    if stemmer is not None:
        builder = builder.filter(Filter.stemmer(stemmer))
    # After the stemmer, which needs the accents; so that words are found without them as well.
    return builder.filter(Filter.ascii_fold()).build()
