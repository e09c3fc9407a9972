"""The tree of a query as a query of the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tantivy import Occur, Query

from mosaicfs_fulltext.index import schema as fields
from mosaicfs_fulltext.index.analysis import NAMES, same_stem, terms
from mosaicfs_fulltext.language import LIKELIEST, PLAIN, UNSPACED
from mosaicfs_fulltext.query.syntax import Both, Either, Node, Not, Phrase, Word

_BOOSTS: Final = {fields.NAME: 2.5, fields.TITLE: 2.0, fields.PATH: 0.4}
_TIE: Final = 0.1
_EXACT: Final = frozenset({fields.STATUS, fields.LANGUAGE, fields.ENDING})
_UNSTEMMED: Final = frozenset({PLAIN, UNSPACED, NAMES})
_LEAST_STEM: Final = 4
_LEAST_FUZZY: Final = 3
_NEAREST: Final = 0.3
_FORM: Final = 0.8
_MOST_TERMS: Final = 120
_MOST_FORMS: Final = 16
_MOST_LANGUAGES: Final = 3

Beginning = Callable[[str, str, int], list[str]]


def build(node: Node, languages: Sequence[str], beginning: Beginning) -> Query | None:
    """The query that a tree asks, of texts in these languages; None when no word of it is one.

    ``beginning`` lists terms of a field: texts of no known language are indexed as they are, and a word is looked for
    in them in the forms that it has there.
    """
    return _Builder(languages, beginning).node(node)


def status_query(status: str) -> Query:
    """The files of a status."""
    return _term(fields.STATUS, status)


def ids_query(file_ids: Sequence[str]) -> Query:
    """These files."""
    return Query.term_set_query(fields.schema(), fields.ID, list(file_ids))


class _Builder:
    def __init__(self, languages: Sequence[str], beginning: Beginning) -> None:
        self._bodies = [(fields.body(language), language) for language in languages]
        stemming = [language for language in languages if language not in _UNSTEMMED][:_MOST_LANGUAGES]
        self._stemming = list(dict.fromkeys([*stemming, LIKELIEST]))
        self._beginning = beginning

    def node(self, node: Node) -> Query | None:
        if isinstance(node, Word):
            return self._word(node)
        if isinstance(node, Phrase):
            return self._phrase(node)
        if isinstance(node, Not):
            inner = self.node(node.part)
            return None if inner is None else _all_but([inner])
        if isinstance(node, Either):
            return _any([query for part in node.parts if (query := self.node(part)) is not None])
        return self._both(node)

    def _both(self, node: Both) -> Query | None:
        wanted = [query for part in node.parts if not isinstance(part, Not) and (query := self.node(part)) is not None]
        refused = [
            query for part in node.parts if isinstance(part, Not) and (query := self.node(part.part)) is not None
        ]
        if not wanted:
            return _all_but(refused) if refused else None
        if len(wanted) == 1 and not refused:
            return wanted[0]
        must = [(Occur.Must, query) for query in wanted]
        return Query.boolean_query([*must, *((Occur.MustNot, query) for query in refused)])

    def _word(self, word: Word) -> Query | None:
        if word.field in _EXACT:
            return _term(word.field, word.text.lower())
        return self._everywhere(word.field, lambda field, language: self._word_in(field, language, word))

    def _word_in(self, field: str, language: str, word: Word) -> Query | None:
        exact = _word_in(field, language, word)
        if language != PLAIN or exact is None or word.prefix or word.fuzzy:
            return exact
        forms = [_term(field, form) for form in self._forms(field, word.text)]
        return _any([exact, *(Query.boost_query(form, _FORM) for form in forms)])

    def _forms(self, field: str, text: str) -> list[str]:
        """Other forms of a word among the terms of a field without stems."""
        found = terms(PLAIN, text)
        if len(found) != 1 or len(found[0]) < _LEAST_STEM:
            return []
        word = found[0]
        stems = [stem for language in self._stemming for stem in terms(language, text)]
        begun = min((_shared(word, stem) for stem in stems), key=len, default=word)
        if len(begun) < _LEAST_FUZZY:
            return []
        others = (term for term in self._beginning(field, begun, _MOST_TERMS) if term != word)
        return [term for term in others if same_stem(self._stemming, word, term)][:_MOST_FORMS]

    def _phrase(self, phrase: Phrase) -> Query | None:
        if phrase.field in _EXACT:
            return _term(phrase.field, phrase.text.lower())
        return self._everywhere(phrase.field, lambda field, language: _phrase_in(field, language, phrase))

    def _everywhere(self, field: str | None, ask: Callable[[str, str], Query | None]) -> Query | None:
        """Ask of one field or of all; a file counts for where it answers best."""
        queries = [query for name, language in self._places(field) if (query := _boosted(name, ask(name, language)))]
        if len(queries) < 2:
            return queries[0] if queries else None
        return Query.disjunction_max_query(queries, _TIE)

    def _places(self, field: str | None) -> Iterator[tuple[str, str]]:
        yield from ((name, NAMES) for name in _BOOSTS if field in (None, name))
        if field is None:
            yield from self._bodies


def _shared(one: str, other: str) -> str:
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _word_in(field: str, language: str, word: Word) -> Query | None:
    found = terms(language, word.text)
    if not found:
        return None
    if len(found) > 1:  # what the writer took for one word
        return _phrase_of(field, found, 0, word.prefix)
    if word.prefix:
        return _beginning(field, language, word.text, found[0])
    if word.fuzzy and len(found[0]) >= _LEAST_FUZZY:
        exact = Query.boost_query(_term(field, found[0]), 2.0)
        near = Query.fuzzy_term_query(fields.schema(), field, found[0], word.fuzzy)
        return _any([exact, Query.boost_query(near, _NEAREST)])
    return _term(field, found[0])


def _beginning(field: str, language: str, text: str, stem: str) -> Query | None:
    """Words that begin so. The index has stems: a longer beginning is looked for in the stems that it may have."""
    begun = terms(PLAIN if language not in (UNSPACED, NAMES) else language, text)[0]
    queries = [Query.regex_query(fields.schema(), field, f"{begun}.*")]
    if language not in _UNSTEMMED:
        shortest = max(_LEAST_STEM, (len(begun) + 1) // 2)
        stems = dict.fromkeys([stem, *(begun[:length] for length in range(len(begun) - 1, shortest - 1, -1))])
        queries += [Query.boost_query(_term(field, shorter), _NEAREST) for shorter in stems]
    return _any(queries)


def _phrase_in(field: str, language: str, phrase: Phrase) -> Query | None:
    found = terms(language, phrase.text)
    if not found:
        return None
    if len(found) == 1 and phrase.prefix:
        return _beginning(field, language, phrase.text, found[0])
    return _phrase_of(field, found, phrase.slop, phrase.prefix)


def _phrase_of(field: str, words: list[str], slop: int, prefix: bool) -> Query:
    if len(words) == 1:
        return _term(field, words[0])
    if prefix and not slop:
        return Query.phrase_prefix_query(fields.schema(), field, list(words))
    return Query.phrase_query(fields.schema(), field, list(words), slop)


def _term(field: str, value: str) -> Query:
    return Query.term_query(fields.schema(), field, value)


def _boosted(field: str, query: Query | None) -> Query | None:
    boost = _BOOSTS.get(field)
    return query if boost is None or query is None else Query.boost_query(query, boost)


def _any(queries: list[Query]) -> Query | None:
    if len(queries) < 2:
        return queries[0] if queries else None
    return Query.boolean_query([(Occur.Should, query) for query in queries])


def _all_but(refused: list[Query]) -> Query:
    return Query.boolean_query([(Occur.Must, Query.all_query()), *((Occur.MustNot, query) for query in refused)])
