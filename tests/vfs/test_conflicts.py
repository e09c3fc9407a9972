"""Protects the rules for names that several files want: one winner, stable names, and nothing that depends on order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.documents import unescape
from mosaicfs_vfs.namespace.conflicts import MAX_NAME, Candidate, settle, with_suffix


def candidate(
    doc: int, node: str = "node-a", mtime: int = 0, suffix: bool = True, path: str = "", name: str = "a.txt"
) -> Candidate:
    return Candidate(f"{node}.{doc}", name, mtime, node, path or f"/{doc}/{name}", suffix)


def names(
    collisions: dict[str, list[Candidate]], directories: tuple[str, ...] = (), others: tuple[str, ...] = ()
) -> dict[int, str | None]:
    outcomes = settle(collisions, directories, {*collisions, *others})
    return {int(outcome.candidate.file_id.rpartition(".")[2]): outcome.name for outcome in outcomes}


def test_the_newest_wins_and_ties_go_to_the_lower_node() -> None:
    assert names({"a.txt": [candidate(1, mtime=1, suffix=False), candidate(2, mtime=2, suffix=False)]}) == {
        1: None,
        2: "a.txt",
    }
    tied = [candidate(1, "node-b", suffix=False), candidate(2, "node-a", suffix=False)]
    assert names({"a.txt": tied}) == {1: None, 2: "a.txt"}


def test_each_losers_own_mount_says_what_becomes_of_it() -> None:
    group = [
        candidate(1, "node-a", mtime=3, suffix=False),
        candidate(2, "node-b", mtime=2, suffix=True),
        candidate(3, "node-c", mtime=1, suffix=False),
    ]
    assert names({"a.txt": group}) == {1: "a.txt", 2: "a (node-b).txt", 3: None}


def test_two_of_one_node_get_a_hash_of_their_path() -> None:
    shown = names({"a.txt": [candidate(1, mtime=2), candidate(2, mtime=1), candidate(3, mtime=0)]})
    assert shown[1] == "a.txt"
    assert len({shown[2], shown[3]}) == 2
    for doc in (2, 3):
        assert shown[doc].startswith("a (node-a ")
        assert len(shown[doc]) == len("a (node-a 12345678).txt")


def test_a_name_that_exists_already_is_never_taken() -> None:
    group = [candidate(1, "node-a", mtime=2), candidate(2, "node-b", mtime=1)]
    shown = names({"a.txt": group}, others=("a (node-b).txt",))
    assert shown[2].startswith("a (node-b ")


def test_one_file_by_two_mounts_is_no_conflict() -> None:
    assert names({"a.txt": [candidate(1, suffix=False), candidate(1, suffix=True)]}) == {1: "a.txt"}


def test_a_directory_beats_every_file() -> None:
    assert names({"a.txt": [candidate(1), candidate(2, "node-b", suffix=False)]}, directories=("a.txt",)) == {
        1: "a (node-a).txt",
        2: None,
    }


def test_where_the_suffix_goes() -> None:
    assert with_suffix("a.tar.gz", "n") == "a.tar (n).gz"
    assert with_suffix(".profile", "n") == ".profile (n)"
    assert with_suffix("no extension", "n") == "no extension (n)"
    assert with_suffix("v1." + "x" * 40, "n") == "v1." + "x" * 40 + " (n)"


written = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs", "Co"]), min_size=1, max_size=90)


@given(name=written, label=written.filter(lambda text: len(unescape(text)) <= 150))
def test_a_suffixed_name_fits_into_255_bytes(name: str, label: str) -> None:
    assert len(unescape(with_suffix(name, label))) <= MAX_NAME


def test_a_long_name_with_raw_bytes_is_cut_between_characters() -> None:
    name = "\U0010fffe" * 120 + "é" * 60 + ".txt"
    cut = with_suffix(name, "node-a")
    assert len(unescape(cut)) <= MAX_NAME
    assert cut.endswith(" (node-a).txt")


candidates = st.lists(
    st.builds(
        candidate,
        doc=st.integers(1, 8),
        node=st.sampled_from(["node-a", "node-b"]),
        mtime=st.integers(0, 2),
        suffix=st.booleans(),
        path=st.sampled_from(["/1", "/2", "/3"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one.file_id.rpartition(".")[2],
)


@given(first=candidates, second=candidates, data=st.data())
def test_the_outcome_does_not_depend_on_order(
    first: list[Candidate], second: list[Candidate], data: st.DataObject
) -> None:
    second = [one._replace(name="b", file_id=f"{one.file_id}00") for one in second]
    shuffled = {"b": data.draw(st.permutations(second)), "a.txt": data.draw(st.permutations(first))}
    one, other = names({"a.txt": first, "b": second}), names(shuffled)
    assert one == other
    shown = [name for name in one.values() if name is not None]
    assert len(shown) == len(set(shown))
