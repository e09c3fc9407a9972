"""Protects whose files lie where: of two instances one never has its files among the other's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.plugins.prefixes import clashes

PARTS = st.lists(st.sampled_from(["a", "ab", "a.b", "b"]), max_size=3)
FOLDERS = st.lists(PARTS.map(lambda parts: f"/{'/'.join(parts)}"), max_size=4)


@settings(deadline=None)
@given(first=FOLDERS, second=FOLDERS)
def test_of_two_instances_the_later_one_clashes_just_where_folders_overlap(first: list[str], second: list[str]) -> None:
    documents = [
        instance_document("node-a-aaaa", name, created_at=name, watches="paths", settings={"paths": folders})
        for name, folders in (("one", first), ("two", second))
    ]
    overlap = any(is_under(one, two) or is_under(two, one) for one in first for two in second)
    found = clashes(documents, lambda _: None)
    assert set(found) == ({"two"} if overlap else set())
