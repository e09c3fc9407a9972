"""From the text of a document to what is said of it. Runs in a child process."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, Final

import kreuzberg
import stop_words

from mosaicfs_plugins.summarize.reading.documents import Document
from mosaicfs_plugins.summarize.reading.languages import two_letters
from mosaicfs_plugins.summarize.reading.ranking import summary
from mosaicfs_plugins.summarize.reading.sentences import paragraphs, sentences

_SAMPLE: Final = 20_000
_MOST_TEXT: Final = 200_000
_LONGEST_TITLE: Final = 200
_LONGEST_HEADING: Final = 120
_LONGEST_SUMMARY: Final = 4_000
_CONFIDENCE: Final = 0.3
_WORTH_TELLING: Final = 3


def gist(document: Document, *, max_sentences: int, max_keywords: int, languages: Collection[str]) -> dict[str, Any]:
    """Title, summary, language and keywords of a document."""
    text = document.text
    language = _language(text, languages)
    found = sentences(text)
    blocks = paragraphs(text[:_SAMPLE])
    # Of lists, tables and poems the beginning tells more than nothing.
    chosen = summary(found, max_sentences, stop_words_of(language)) if found else blocks[:max_sentences]
    return {
        "title": (document.title or _heading(blocks))[:_LONGEST_TITLE],
        "summary": " ".join(chosen)[:_LONGEST_SUMMARY],
        "language": language,
        "keywords": _keywords(text, language, max_keywords),
    }


@cache
def stop_words_of(language: str | None) -> frozenset[str]:
    """The words of a language that say nothing of a text; none for a language without a list."""
    if language is None:
        return frozenset()
    try:
        return frozenset(stop_words.get_stop_words(language))
    except stop_words.StopWordError:
        return frozenset()


def _heading(blocks: list[str]) -> str:
    """The first block, where it is short enough to be a heading."""
    first = blocks[0] if blocks else ""
    return first if len(first) <= _LONGEST_HEADING else ""


def _language(text: str, among: Collection[str]) -> str | None:
    """The language by its two letters, where it has any; None when it is not clear, or none of ``among``."""
    middle = len(text) // 2
    sample = text if len(text) <= 2 * _SAMPLE else f"{text[:_SAMPLE]}\n{text[middle : middle + _SAMPLE]}"
    detection = kreuzberg.LanguageDetectionConfig(enabled=True, min_confidence=_CONFIDENCE)
    found = _asked(sample, language_detection=detection).detected_languages
    language = two_letters(found[0]) if found else None
    return language if language is not None and (not among or language in among) else None


def _keywords(text: str, language: str | None, most: int) -> list[str]:
    """Words that stand out (YAKE: Campos et al., Information Sciences 509, 2020), the strongest first."""
    if most == 0:
        return []
    config = kreuzberg.KeywordConfig(
        algorithm=kreuzberg.KeywordAlgorithm.Yake, max_keywords=4 * most, language=language, ngram_range=(1, 1)
    )
    found = _asked(text[:_MOST_TEXT], keywords=config).extracted_keywords or []
    unsaid = stop_words_of(language)
    ranked = sorted((-round(word.score, 6), word.text.lower()) for word in found)
    words = dict.fromkeys(word for _, word in ranked if _tells(word, unsaid))
    return list(words)[:most]


def _tells(word: str, unsaid: Collection[str]) -> bool:
    long_enough = len(word) >= _WORTH_TELLING or not word.isascii()
    return long_enough and word not in unsaid and any(character.isalpha() for character in word)


def _asked(text: str, **what: Any) -> kreuzberg.ExtractionResult:
    config = kreuzberg.ExtractionConfig(use_cache=False, enable_quality_processing=False, **what)
    return kreuzberg.extract_bytes_sync(text.encode("utf-8", "replace"), "text/plain", config)
