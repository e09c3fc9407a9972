"""Which language a text is in, by its function words and its script. Pure.

Good enough to choose a stemmer, which is all that it is for: a wrong guess costs the stems of one file, never the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Final

PLAIN: Final = "plain"
"""The language of what is in none: words are indexed as they are."""
LIKELIEST: Final = "en"
"""What words of a text in no known language are taken for where a stem is needed."""
UNSPACED: Final = "cjk"
"""Scripts that put no space between words: every character is indexed, and words are found as phrases of them."""

_SAMPLE: Final = 1200
_LEAST_HITS: Final = 4
_LEAST_SHARE: Final = 0.1

# Without single letters and words that programs are full of (do, as, if).
_FUNCTION_WORDS: Final = {
    "en": "the of and to in is that for it with as was on be by this are from or an have not at which but you we",
    "de": "der die und das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat",
    "fr": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne ce il sont avec nous vous",
    "es": "de la que el en los del las un por con una su para es al lo como más pero sus le ya este si porque",
    "it": "di che il la in un per non una sono con del della le si da nel alla gli dei più come è anche ma ho questo",
    "pt": "de que da em um para com não uma no na por mais dos como mas foi ao ele das tem à seu você",
    "nl": "de het een van en in is dat op te zijn voor met die niet aan er om ook als maar bij nog uit dan naar wordt",
    "sv": "och att det som en på är av för med den till inte har de ett om han men var jag från vi så eller när kan",
    "da": "og at det er en til af på for med den de ikke som der har et han var jeg men kan fra vi hvad eller blev",
    "no": "og det er en til av på for med som at ikke den de har et han var jeg men kan fra vi ble eller hva etter",
    "fi": "ja on ei että oli hän mutta ovat joka kun niin myös tai ole sen kuin olla hänen voi minä mitä tämä sitä",
    "hu": "az és hogy nem egy ez meg de van csak volt már ha mint még vagy azt ezt lehet kell el minden aki amely",
    "ro": "de și în la cu că pe nu un din este care mai sau ca pentru fi sunt prin dar după al lui fost",
    "tr": "ve bir bu da de için ile çok olarak daha ne ama var gibi kadar olan sonra en değil her ki ben mi ya",
    "ru": "и в не на что с по как это из но за от для он так все же его к у было бы или мы вы они при если когда",
}
_WORDS: Final = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
_LANGUAGES_OF: Final = {
    word: tuple(language for language, words in _WORDS.items() if word in words)
    for word in set().union(*_WORDS.values())
}
_SCRIPTS: Final = {"el": "\u0370-\u03ff\u1f00-\u1fff", "ar": "\u0600-\u06ff\u0750-\u077f"}
# Thai, Lao, Myanmar, Khmer; kana, bopomofo, ideographs, Hangul.
_NO_SPACES: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
)
_in_script: Final = {language: re.compile(f"[{letters}]") for language, letters in _SCRIPTS.items()}
_unspaced: Final = re.compile(f"[{_NO_SPACES}]")
_word: Final = re.compile(r"[^\W\d_]+")
# Everything of ASCII but letters becomes space, capitals become small.
_ASCII_WORDS: Final = {code: chr(code).lower() if chr(code).isalpha() else " " for code in range(128)}

LANGUAGES: Final[tuple[str, ...]] = tuple(sorted([*_WORDS, *_SCRIPTS]))
"""The languages that have a stemmer here, by ISO 639-1 code."""


def detect_language(text: str, among: Collection[str] = ()) -> str:
    """The language of a text: one of ``LANGUAGES`` (of ``among``, where that is not empty), ``UNSPACED`` or ``PLAIN``.

    Looks at the beginning and the middle of it.
    """
    middle = len(text) // 2
    sample = text[:_SAMPLE] + " " + text[middle : middle + _SAMPLE] if len(text) > _SAMPLE else text
    words = _words_in(sample)
    if not words:
        return PLAIN
    if not sample.isascii():
        letters = sum(map(len, words))
        # A single such word in a text is reason enough: it could not be found otherwise.
        if _unspaced.search(sample) and len(_unspaced.findall(sample)) * 20 >= letters:
            return UNSPACED
        for language, pattern in _in_script.items():
            if len(pattern.findall(sample)) * 2 > letters:
                return language if not among or language in among else PLAIN
    return _by_function_words(words, among)


def _words_in(sample: str) -> list[str]:
    """Its words in small letters; most texts are ASCII, of which a table tells them in a third of the time."""
    if sample.isascii():
        return sample.translate(_ASCII_WORDS).split()
    return _word.findall(sample.lower())


def _by_function_words(words: list[str], among: Collection[str]) -> str:
    scores: Counter[str] = Counter()
    for word, count in Counter(filter(_LANGUAGES_OF.__contains__, words)).items():
        for language in _LANGUAGES_OF[word]:
            scores[language] += count
    found = [(score, language) for language, score in scores.items() if not among or language in among]
    best, language = max(found, default=(0, PLAIN))
    return language if best >= max(_LEAST_HITS, _LEAST_SHARE * len(words)) else PLAIN
