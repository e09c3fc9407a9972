"""Protects revision trees: merging is commutative and idempotent, winners are CouchDB's, packing loses nothing."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.store import revtree
from mosaicfs_core.store.revtree import Rev, Tree

Path = tuple[tuple[Rev, ...], bool]


def child(parent: Rev | None, choice: int, usual: bool = True) -> Rev:
    """A revision whose hash determines its history, as real ones do."""
    text = f"{parent} {choice}"
    digest = hashlib.md5(text.encode()).hexdigest()
    return (1 if parent is None else parent[0] + 1, digest if usual else f"x{digest[:5]}")


@st.composite
def paths(draw: st.DrawFn) -> list[Path]:
    """Leaves with their histories, newest first; some histories are cut short, as pruning leaves them."""
    usual = draw(st.booleans())
    found: list[Path] = []
    for _ in range(draw(st.integers(1, 6))):
        rev: Rev | None = None
        path: list[Rev] = []
        for choice in draw(st.lists(st.integers(0, 1), min_size=1, max_size=7)):
            rev = child(rev, choice, usual)
            path.insert(0, rev)
        keep = draw(st.integers(1, len(path)))
        found.append((tuple(path[:keep]), draw(st.booleans())))
    return found


def grown(found: list[Path]) -> Tree:
    tree = Tree()
    for path, deleted in found:
        revtree.graft(tree, path, deleted)
    return tree


@given(paths(), st.randoms(use_true_random=False))
def test_histories_merge_in_any_order(found: list[Path], random: object) -> None:
    deletions = {path[0]: deleted for path, deleted in found}
    found = [(path, deletions[path[0]]) for path, _ in found]
    shuffled = list(found)
    random.shuffle(shuffled)
    one, other = grown(found), grown(shuffled)
    # A leaf that was grafted upon before it arrived is an inner revision in both: only leaves can be deleted.
    assert one.parents == other.parents
    assert revtree.leaves(one) == revtree.leaves(other)
    assert grown(found + found).parents == one.parents


@given(paths())
def test_packing_loses_nothing(found: list[Path]) -> None:
    tree = grown(found)
    top = revtree.winner(tree)
    assert revtree.unpack(revtree.pack(tree), top, top in tree.deleted) == tree


@given(paths(), st.integers(1, 8))
def test_pruning_keeps_the_newest_of_each_branch(found: list[Path], limit: int) -> None:
    tree, before = grown(found), grown(found)
    revtree.prune(tree, limit)
    assert revtree.leaves(tree) == revtree.leaves(before)
    for leaf in revtree.leaves(tree):
        whole = revtree.history(before, leaf)
        kept = revtree.history(tree, leaf)
        assert kept == whole[: len(kept)]
        assert len(kept) >= min(limit, len(whole))


@given(paths())
def test_the_winner_is_live_then_longest_then_highest(found: list[Path]) -> None:
    tree = grown(found)
    parents = set(tree.parents.values())
    leaves = [rev for rev in tree.parents if rev not in parents]
    live = [rev for rev in leaves if rev not in tree.deleted]
    assert revtree.winner(tree) == max(live or leaves)
    assert sorted(revtree.leaves(tree)) == sorted(leaves)


@given(st.integers(1, 30), st.integers(1, 12), st.booleans())
def test_appending_equals_grafting(length: int, limit: int, deleted: bool) -> None:
    rev = child(None, 0)
    tree, packed = Tree({rev: None}), None
    for number in range(length):
        following = child(rev, number)
        packed = revtree.append(packed, rev, following, deleted, max(limit, 2))
        revtree.graft(tree, (following, rev), deleted)
        revtree.prune(tree, max(limit, 2))
        rev = following
    assert packed is not None
    assert revtree.unpack(packed, rev, deleted) == tree


def test_a_pruned_history_is_learnt_again() -> None:
    first = child(None, 0)
    second = child(first, 0)
    third = child(second, 0)
    tree = Tree({third: None})
    assert not revtree.graft(tree, (third, second, first), False)
    assert revtree.history(tree, third) == [third, second, first]


def test_missing_and_possible_ancestors() -> None:
    first = child(None, 0)
    tree = Tree({first: None})
    later = child(child(first, 1), 1)
    assert revtree.missing(tree, [first, later]) == [later]
    assert revtree.possible_ancestors(tree, [later]) == [first]
    assert revtree.possible_ancestors(tree, []) == []


@pytest.mark.parametrize("text", ["", "1", "1-", "-a", "x-a", "-1-a", "¹-a", None, 5])
def test_bad_revisions_are_refused(text: object) -> None:
    with pytest.raises(UserError):
        revtree.parse_rev(text)
