"""Which sentences of a text say what the others say: LexRank.

G. Erkan and D. R. Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text Summarization", Journal of
Artificial Intelligence Research 22 (2004), 457-479, with the threshold on cosines; inverse frequencies are those of the
document's own sentences. Pure, and the same for the same text.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Final

_THRESHOLD: Final = 0.1
_DAMPING: Final = 0.85
_ROUNDS: Final = 50
_CLOSE: Final = 1e-5
_SAME: Final = 0.6
_word: Final = re.compile(r"[^\W\d_]+")
_unspaced: Final = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")

Vector = dict[str, float]


def summary(found: Sequence[str], most: int, stop_words: Collection[str]) -> list[str]:
    """The ``most`` sentences that are central to ``found``, in their order; none says the same as another."""
    if len(found) <= most:
        return list(found)
    vectors = _vectors([_terms(sentence, stop_words) for sentence in found])
    ranks = _ranks(vectors)
    chosen: list[int] = []
    for number in sorted(range(len(found)), key=lambda at: (-round(ranks[at], 9), at)):
        if all(_cosine(vectors[number], vectors[other]) < _SAME for other in chosen):
            chosen.append(number)
        if len(chosen) == most:
            break
    return [found[number] for number in sorted(chosen)]


def _terms(sentence: str, stop_words: Collection[str]) -> Counter[str]:
    """The words that carry meaning; pairs of characters where a script puts no spaces between words."""
    lowered = sentence.lower()
    if _unspaced.search(lowered):
        plain = "".join(_word.findall(lowered))
        return Counter(plain[at : at + 2] for at in range(len(plain) - 1))
    return Counter(word for word in _word.findall(lowered) if len(word) > 1 and word not in stop_words)


def _vectors(terms: Sequence[Counter[str]]) -> list[Vector]:
    """Each sentence as a vector of length 1, its terms weighed by how few sentences have them."""
    having = Counter(term for counts in terms for term in counts)
    rare = {term: math.log((1 + len(terms)) / number) for term, number in having.items()}
    return [_unit({term: number * rare[term] for term, number in counts.items()}) for counts in terms]


def _unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(weight * weight for weight in vector.values()))
    return {term: weight / length for term, weight in vector.items()} if length else {}


def _cosine(one: Vector, other: Vector) -> float:
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return sum(weight * large[term] for term, weight in small.items() if term in large)


def _ranks(vectors: Sequence[Vector]) -> list[float]:
    """How central each sentence is: where a walk along likenesses spends its time."""
    alike = _alike(vectors)
    size = len(vectors)
    ranks = [1 / size] * size
    for _ in range(_ROUNDS):
        lost = sum(rank for rank, others in zip(ranks, alike, strict=True) if not others)
        following = [(1 - _DAMPING + _DAMPING * lost) / size] * size
        for number, others in enumerate(alike):
            for other in others:
                following[other] += _DAMPING * ranks[number] / len(others)
        moved = sum(abs(new - old) for new, old in zip(following, ranks, strict=True))
        ranks = following
        if moved < _CLOSE:
            break
    return ranks


def _alike(vectors: Sequence[Vector]) -> list[list[int]]:
    """The sentences that each one is like, found through the terms that they share."""
    places: dict[str, list[tuple[int, float]]] = defaultdict(list)
    alike: list[list[int]] = [[] for _ in vectors]
    for number, vector in enumerate(vectors):
        products: dict[int, float] = defaultdict(float)
        for term, weight in vector.items():
            for other, its in places[term]:
                products[other] += weight * its
            places[term].append((number, weight))
        for other, cosine in products.items():
            if cosine >= _THRESHOLD:
                alike[number].append(other)
                alike[other].append(number)
    return alike
