"""Protects ids: they are deterministic, reversible where they must be, and never change between releases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core import documents as d
from mosaicfs_core.errors import UserError

NODE_IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True)


@given(NODE_IDS, st.uuids().map(str))
def test_short_file_ids_go_both_ways(node_id: str, uuid: str) -> None:
    full = d.file_document_id(node_id, uuid)
    assert d.short_file_id(full) == f"{node_id}.{uuid}"
    assert d.full_file_id(d.short_file_id(full)) == full


@given(NODE_IDS, st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_short_notification_ids_go_both_ways(source_id: str, condition: str) -> None:
    full = d.notification_document_id(source_id, condition)
    assert d.full_notification_id(d.short_notification_id(full)) == full


@pytest.mark.parametrize("text", ["", "node", "node.", ".5c1e", "node.5c1e", "file::n::u", "n." + "g" * 36])
def test_what_is_no_file_id_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        d.full_file_id(text)


@pytest.mark.parametrize("text", ["", "!", "bm90", "é", "_w"])
def test_what_is_no_notification_id_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        d.full_notification_id(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_inodes_fit_a_browser_and_spare_the_reserved_ones(document_id: str) -> None:
    assert 1000 <= d.derived_inode(document_id) < 2**53 + 1000


def test_ids_never_change() -> None:
    """A rebuilt agent must derive the ids it had; these are those of the first release."""
    node_id, path = "node-laptop-7f3a", "/home/user/report.pdf"
    uuid = d.first_file_uuid(node_id, path)
    assert uuid == "2db662e4-6eb8-5c9a-a594-93caae5780b5"
    assert d.derived_inode(d.file_document_id(node_id, uuid)) == 178077490472641
    assert d.directory_document_id("/") == "dir::root"
    assert d.directory_document_id("/a") == f"dir::{d.path_hash('/a')}"
    assert d.label_assignment_id(node_id, path) == f"label_file::{node_id}::{d.path_hash(path)}"
    assert d.annotation_id(node_id, path, "ocr") == f"annotation::{node_id}::{d.path_hash(path)}::ocr"
    assert d.annotation_id(node_id, path, "ocr", node_id) == d.annotation_id(node_id, path, "ocr")
    assert d.annotation_id(node_id, path, "ocr", "node-b") == d.annotation_id(node_id, path, "ocr") + "@node-b"
    assert d.utilization_document_id("n", "2026-02-16T09:22:00.000000Z") == "utilization::n::2026-02-16T09:00:00Z"


def test_new_ids_are_random_and_well_formed() -> None:
    ids = {d.new_node_id("Büro PC #1") for _ in range(20)}
    assert len(ids) > 1
    assert all(node_id.startswith("node-buro-pc-1-") and len(node_id) == 19 for node_id in ids)
    assert d.new_node_id("日本").startswith("node-node-")
    assert d.new_control_plane_id("home").startswith("control-plane-home-")
    assert len(d.new_access_key_id()) == len("MOSAICFS_") + 16


@given(st.sampled_from(sorted(d.DOCUMENT_TYPES)))
def test_every_id_prefix_leads_to_its_type(type_name: str) -> None:
    from mosaicfs_core.documents.ids import TYPE_PREFIXES

    assert d.type_of_id(f"{TYPE_PREFIXES[type_name]}::x::y") == type_name
    assert d.type_of_id("nothing::x") is None
