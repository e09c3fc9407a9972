"""Protects what users hang on files when these move: labels and annotations go along, whatever happens in between."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from moving import end_at, followed, labels_at, move
from stepping import steps

from mosaicfs_core.documents import ids
from mosaicfs_core.jobs import JobQueue
from mosaicfs_core.server import moves
from mosaicfs_core.server.moves import Move, Mover, groups, merged_labels
from mosaicfs_core.store import Reader, Store, WriteTransaction
from mosaicfs_core.store.moves import moved_files
from mosaicfs_core.testing.store import NODE, annotation, assignment, file_document


def at(move: tuple[str, str]) -> Move:
    return Move(f"file::{move[0]}", "1-0", NODE, *move)


def test_files_that_took_each_others_places_move_together() -> None:
    moves = [at(("/a", "/b")), at(("/x", "/y")), at(("/b", "/c")), at(("/c", "/a"))]
    assert list(groups(moves)) == [[moves[0], moves[2], moves[3]], [moves[1]]]


def test_a_file_whose_labels_are_where_they_belong_moves_once() -> None:
    """It was renamed onto another one that went to its own first place."""
    back = at(("/a", "/b"))._replace(onto="/a")
    assert list(groups([at(("/b", "/a")), back])) == [[at(("/b", "/a")), back]]


def test_of_two_assignments_the_newer_word_on_each_label_holds() -> None:
    def made(labels: list[str], **times: dict[str, str]) -> dict[str, Any]:
        return {"labels": labels, "label_times": times, "updated_at": max(str(one) for one in times.values())}

    present = made(["kept", "old"], kept={"added": "1"}, old={"added": "2"}, gone={"added": "1", "removed": "5"})
    moved = made(["gone", "new"], gone={"added": "3"}, new={"added": "4"}, old={"added": "1", "removed": "3"})
    merged = merged_labels([present, moved])
    assert merged["labels"] == ["kept", "new"]
    assert merged["label_times"]["gone"] == {"added": "3", "removed": "5"}
    assert merged_labels([merged, merged])["labels"] == merged["labels"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "replica.db") as opened:
        yield opened


async def test_a_swap_exchanges_the_labels(store: Store) -> None:
    await store.bulk([file_document("/a"), file_document("/b"), assignment("/a", "of a"), assignment("/b", "of b")])
    await move(store, "/a", "/tmp")
    await move(store, "/b", "/a")
    document = await store.get(file_document("/a")["_id"])
    assert document is not None
    await store.put({**document, "name": "b", "source": {**document["source"], "export_path": "/b"}})
    await followed(store)
    assert (labels_at(store, "/a"), labels_at(store, "/b"), labels_at(store, "/tmp")) == (["of b"], ["of a"], [])


async def test_a_file_renamed_onto_another_adds_its_labels(store: Store) -> None:
    await store.bulk([file_document(path) for path in ("/a", "/b", "/c")])
    await store.bulk([assignment("/a", "of a", "both"), assignment("/b", "of b", "both"), assignment("/c", "of c")])
    await end_at(store, "/a", "/b")
    await followed(store)
    assert sorted(labels_at(store, "/b")) == ["both", "of a", "of b"]
    assert labels_at(store, "/a") == []
    await end_at(store, "/b", "/c")
    await followed(store)
    assert sorted(labels_at(store, "/c")) == ["both", "of a", "of b", "of c"]


async def test_files_renamed_onto_one_another_add_up_before_anybody_follows(store: Store) -> None:
    """Of a node that was away: the second one has labels that are still to come when it ends itself."""
    await store.bulk([file_document(path) for path in ("/a", "/b", "/c")])
    await store.bulk([assignment("/a", "of a"), assignment("/b", "of b"), assignment("/c", "of c")])
    await end_at(store, "/a", "/b")
    await end_at(store, "/b", "/c")
    await followed(store)
    assert sorted(labels_at(store, "/c")) == ["of a", "of b", "of c"]
    assert (labels_at(store, "/a"), labels_at(store, "/b")) == ([], [])


async def test_a_file_that_moves_on_takes_what_was_renamed_onto_it(store: Store) -> None:
    await store.bulk([file_document(path) for path in ("/a", "/b")])
    await store.bulk([assignment("/a", "of a"), assignment("/b", "of b")])
    await end_at(store, "/a", "/b")
    await move(store, "/b", "/c")
    await followed(store)
    assert sorted(labels_at(store, "/c")) == ["of a", "of b"]


async def test_a_file_that_had_moved_itself_takes_what_was_renamed_onto_it(store: Store) -> None:
    """Its own labels are at its first place, those of the other one's at that one's, and neither was ever between; what
    left the place where both are now takes nothing of theirs along."""
    await store.bulk([file_document(path) for path in ("/a", "/first", "/c")])
    await store.bulk([assignment("/a", "of a"), assignment("/first", "of b"), assignment("/c", "of c")])
    await move(store, "/first", "/b")
    await end_at(store, "/a", "/b", "/first")
    await move(store, "/c", "/d")
    await move(store, "/first", "/c", before="/first")
    await followed(store)
    assert sorted(labels_at(store, "/c")) == ["of a", "of b"]
    assert labels_at(store, "/d") == ["of c"]
    assert (labels_at(store, "/a"), labels_at(store, "/b")) == ([], [])


async def test_files_said_to_be_renamed_onto_each_other_end_somewhere(store: Store) -> None:
    """A node may write that: nothing waits for an end of it."""
    await store.bulk([file_document("/a"), file_document("/b"), assignment("/a", "of a")])
    await end_at(store, "/a", "/x", "/b")
    await end_at(store, "/b", "/y", "/a")
    await followed(store)
    assert labels_at(store, "/y") == ["of a"]


async def chained(store: Store, count: int) -> None:
    """Files of which each is said to have been renamed onto the next one, which a node may write of any number."""
    files = [file_document(f"/{number}") for number in range(count + 1)]
    for file, onto in pairwise(files):
        ended = {"moved_from": file["source"]["export_path"], "renamed_onto": onto["_id"], "status": "deleted"}
        file |= ended | {key: onto[key] for key in ("name", "source")} | {"deleted_at": "2026-01-01T00:00:00.000000Z"}
    results = await store.bulk([*files, assignment("/0", "of the first")])
    assert [result.error for result in results if result.error] == []


@pytest.mark.parametrize("control", [True, False])
async def test_what_a_chain_of_renames_costs_grows_with_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: bool
) -> None:
    """No more: whoever has a node's key may write one, and all of it is followed in one transaction."""
    reads, on_the_loop, loop = 0, 0, threading.get_ident()

    def counted(of: type[Reader | WriteTransaction]) -> None:
        get = of.get

        def counting(self: Any, identifier: str) -> Any:
            nonlocal reads, on_the_loop
            reads += 1
            on_the_loop += threading.get_ident() == loop
            return get(self, identifier)

        monkeypatch.setattr(of, "get", counting)

    async def cost(count: int) -> int:
        nonlocal reads, on_the_loop
        async with await Store.open(tmp_path / f"{count}.db") as store:
            await chained(store, count)
            reads = on_the_loop = 0
            assert await Mover(store, "node-other", control=control)._round(0, {}) is not None
            assert on_the_loop == 0
            return reads

    counted(Reader)
    counted(WriteTransaction)
    assert await cost(400) < 2.5 * await cost(200)


async def test_labels_go_along_a_chain_as_far_as_anybody_renames_at_once(store: Store) -> None:
    await chained(store, moves.HOPS)
    await followed(store)
    assert labels_at(store, f"/{moves.HOPS}") == ["of the first"]


def test_files_with_one_place_are_grouped_in_steps_that_grow_with_their_number() -> None:
    def grouped(count: int) -> None:
        assert len(list(groups([at((f"/{number}", "/x")) for number in range(count)]))) == 1

    assert steps(partial(grouped, 400)) < 2.5 * steps(partial(grouped, 200))


async def test_what_many_files_renamed_onto_one_had_is_read_and_written_there_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: all of them are one group, and followed in one transaction."""
    count, onto = 40, file_document("/onto")
    sources = [file_document(f"/{number}") for number in range(count)]
    kept = [assignment("/onto", "its own"), *(assignment(f"/{number}", f"of {number}") for number in range(count))]
    said = [annotation("/onto", "words", {"n": -1})]
    said += [annotation(f"/{number}", "words", {"n": number}) for number in range(count)]
    for number, one in enumerate(said):
        one["annotated_at"] = f"2026-01-01T00:00:{number:02}.000000Z"
    await store.bulk([onto, *sources, *kept, *said])
    for file in sources:
        await end_at(store, file["source"]["export_path"], "/onto")
    targets = {kept[0]["_id"], said[0]["_id"]}
    read: list[str] = []
    written: list[str] = []
    get, put = WriteTransaction.get, WriteTransaction.put

    def reading(self: WriteTransaction, identifier: str) -> Any:
        read.append(identifier)
        return get(self, identifier)

    def writing(self: WriteTransaction, document: Any) -> str:
        written.append(document["_id"])
        return put(self, document)

    with monkeypatch.context() as patched:
        patched.setattr(WriteTransaction, "get", reading)
        patched.setattr(WriteTransaction, "put", writing)
        await followed(store)
    for asked in (read, written):
        assert sorted(one for one in asked if one in targets) == sorted(targets)
    assert labels_at(store, "/onto") == ["its own", *(f"of {number}" for number in range(count))]
    newest = await store.get(said[0]["_id"])
    assert newest is not None
    assert newest["data"] == {"n": count - 1}


def test_labels_that_come_together_are_merged_in_steps_that_grow_with_their_number() -> None:
    def merged(count: int) -> None:
        found = merged_labels([assignment(f"/{number}", str(number)) for number in range(count)])
        assert len(found["labels"]) == count

    assert steps(partial(merged, 400)) < 2.5 * steps(partial(merged, 200))


async def test_a_file_renamed_onto_another_nodes_takes_no_labels_there(store: Store) -> None:
    """A node may write that, too, and place nothing where its own files never were."""
    foreign = file_document("/theirs", node_id="node-other")
    await store.bulk([file_document("/a"), file_document("/b"), foreign, assignment("/a", "of a")])
    await end_at(store, "/a", "/b")
    await store.update(file_document("/a")["_id"], lambda there: {**(there or {}), "renamed_onto": foreign["_id"]})
    await followed(store)
    assert labels_at(store, "/b") == ["of a"]
    assert labels_at(store, "/theirs") == []


async def test_many_moves_and_files_without_labels(store: Store) -> None:
    names = [f"/d/{number}" for number in range(600)]
    await store.bulk([file_document(name) for name in names])
    await store.bulk([assignment(name, name) for name in names[::3]])
    for name in names:
        await move(store, name, f"/e{name}")
    await followed(store)
    assert all(labels_at(store, f"/e{name}") == [name] for name in names[::3])
    assert not any(labels_at(store, name) for name in names)


async def test_this_nodes_annotations_go_along_and_others_stay(store: Store) -> None:
    await store.put(file_document("/a"))
    own, other = annotation("/a", "words", {"n": 1}), annotation("/a", "faces", {})
    other |= {"annotated_by": "node-other", "_id": ids.annotation_id(NODE, "/a", "faces", "node-other")}
    await store.bulk([own, other])
    await move(store, "/a", "/b")
    await followed(store)
    assert await store.get(ids.annotation_id(NODE, "/a", "words")) is None
    there = await store.get(ids.annotation_id(NODE, "/b", "words"))
    assert there is not None
    assert there["data"] == own["data"]
    assert await store.get(other["_id"]) is not None


async def test_a_file_that_changes_meanwhile_is_looked_at_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    await move(store, "/a", "/b")
    found = moved_files

    def late(reader: Any, since: int) -> Any:
        result = found(reader, since)
        monkeypatch.setattr(moves, "moved_files", found)
        identifier = file_document("/a")["_id"]
        asyncio.run_coroutine_threadsafe(
            store.update(identifier, lambda there: {**(there or {}), "size": 78}), loop
        ).result(10)
        return result

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(moves, "moved_files", late)
    await followed(store)
    assert labels_at(store, "/b") == ["x"]


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from mosaicfs_core.server import moves
from mosaicfs_core.server.moves import Mover
from mosaicfs_core.store import Store
from mosaicfs_core.store.moves import clear_followed, moved_files
from mosaicfs_core.testing.store import NODE

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with await Store.open(Path(sys.argv[1])) as store:
        if sys.argv[2] == "within":
            moves._place = die
        elif sys.argv[2] == "after":
            store.local_put = die
            moves._NOTE_EVERY = 0
        else:
            store.transaction = die
        await Mover(store, NODE).run()

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["before", "within", "after"])
async def test_a_kill_in_between_loses_no_label(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "replica.db"
    async with await Store.open(path) as store:
        await store.bulk([file_document("/a"), assignment("/a", "x"), annotation("/a", "words", {})])
        await move(store, "/a", "/b")
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", CHILD, str(path), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    async with await Store.open(path) as store:
        assert labels_at(store, "/b") == (["x"] if moment == "after" else [])
        await followed(store)
        assert (labels_at(store, "/a"), labels_at(store, "/b")) == ([], ["x"])
        assert await store.get(ids.annotation_id(NODE, "/b", "words")) is not None


async def test_annotations_that_a_queue_took_along_are_not_taken_from_the_next_file_there(store: Store) -> None:
    queue = JobQueue(store, NODE)
    await queue.open()
    document = file_document("/a")
    await store.bulk([document, annotation("/a", "sum", {"of": "first"}), assignment("/a", "red")])
    there = file_document("/b")
    moved = {**document, "name": "b", "source": there["source"], "moved_from": "/a"}
    await store.update(document["_id"], lambda present: moved)
    second = ids.file_document_id(NODE, ids.next_file_uuid())
    await store.put({**file_document("/a"), "_id": second, "inode": ids.derived_inode(second)})
    await store.put(annotation("/a", "sum", {"of": "second"}))
    await followed(store)
    said = {document["export_path"]: document["data"]["of"] for document in store.reader.documents_of("annotation")}
    assert said == {"/b": "first", "/a": "second"}
    assert labels_at(store, "/b") == ["red"]
    await queue.close()
