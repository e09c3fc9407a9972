"""The plan of pins: what to fetch next, when to try again, what is told of it. Without any clock or network."""

from __future__ import annotations

from typing import Any

import msgspec

from mosaicfs_core.hooks import FilePlace, FileRecord, SelectedFile
from mosaicfs_plugins.pins.plan import FILE_PAUSES_S, NODE_PAUSES_S, ROOM_PAUSE_S, Item, Plan, summary


def record(name: str, node: str = "node-a", size: int = 10, mtime: int = 1) -> FileRecord:
    return FileRecord(
        file_id=f"{node}.{name}", node_id=node, export_path=f"/{name}", name=name, size=size, mtime=mtime, inode=1000
    )


class Driver:
    """A plan of the pins ``first`` and ``second`` on ``node-me``, and its time."""

    def __init__(self) -> None:
        self.plan = Plan(["first", "second"], "node-me")
        self.now = 100.0

    def want(self, file: FileRecord, *pins: str, here: int = 0, whole: bool = False) -> FilePlace | None:
        selected = SelectedFile(file_id=file.file_id, file=file, selections=pins)
        return self.plan.take(selected, here=here, whole=whole, now=self.now)

    def next(self) -> Item | None:
        return self.plan.next(self.now)

    def due(self) -> list[str]:
        found = []
        while (item := self.next()) is not None:
            found.append(item.file.name)
        return found

    def figures(self, name: str = "first") -> dict[str, Any]:
        return self.plan.figures(name)


def test_the_more_important_pin_comes_first_and_own_files_are_here() -> None:
    driver = Driver()
    driver.want(record("late"), "second")
    driver.want(record("early"), "second", "first")
    driver.want(record("mine", "node-me"), "first")
    driver.want(record("kept"), "first", here=10, whole=True)
    assert driver.due() == ["early", "late"]
    assert (driver.next(), driver.plan.wait(driver.now)) == (None, None)
    figures = driver.figures()
    assert (figures["files_wanted"], figures["files_present"], figures["files_fetching"]) == (3, 2, 1)
    assert (figures["bytes_wanted"], figures["bytes_present"]) == (30, 20)
    assert driver.plan.places() == {FilePlace("node-a", path) for path in ("/late", "/early", "/kept")}


def test_what_is_no_longer_wanted_is_let_go_and_another_version_fetched_again() -> None:
    driver = Driver()
    old = record("a")
    driver.want(old, "first", here=10, whole=True)
    assert driver.want(old, "first", "second") is None
    assert driver.figures("second")["files_present"] == 1
    assert driver.want(record("a", mtime=2, size=7), "first") is None, "it stays pinned at its place"
    item = driver.next()
    assert item is not None
    driver.plan.done(item)
    assert (driver.figures()["bytes_present"], driver.figures("second")["files_wanted"]) == (7, 0)
    moved = msgspec.structs.replace(record("a", mtime=2, size=7), export_path="/b")
    assert driver.want(moved, "first") == FilePlace("node-a", "/a")
    assert driver.want(moved) == FilePlace("node-a", "/b")
    assert driver.plan.take(SelectedFile(file_id="node-a.a"), here=0, whole=False, now=1) is None
    assert (driver.figures()["files_wanted"], driver.figures()["bytes_wanted"], driver.due()) == (0, 0, [])


def test_what_comes_of_a_former_version_is_of_no_account() -> None:
    driver = Driver()
    driver.want(record("a"), "first")
    former = driver.next()
    assert former is not None
    driver.want(record("a", mtime=2), "first")
    driver.plan.done(former)
    driver.plan.failed(former, "gone", driver.now)
    driver.plan.progress(former, 5)
    assert (driver.figures()["files_present"], driver.figures()["files_failed"]) == (0, 0)
    assert driver.due() == ["a"]


def test_a_node_that_does_not_answer_is_left_alone_for_longer_and_longer() -> None:
    driver = Driver()
    for name in ("a", "b", "c"):
        driver.want(record(name), "first")
    driver.want(record("other", "node-b"), "second")
    items = [driver.next(), driver.next()]
    for item in items:
        assert item is not None
        driver.plan.unreachable(item, "no way", driver.now)
    assert driver.due() == ["other"], "other nodes are asked meanwhile"
    assert driver.plan.wait(driver.now) == NODE_PAUSES_S[0], "two that fail together count once"
    pauses = []
    for _ in range(9):
        wait = driver.plan.wait(driver.now)
        assert wait is not None
        driver.now += wait
        pauses.append(wait)
        item = driver.next()
        assert item is not None
        driver.plan.unreachable(item, "no way", driver.now)
    assert pauses[:3] == [5, 10, 20]
    assert pauses[-1] == NODE_PAUSES_S[1]
    assert summary(driver.figures(), True) == "waiting"
    assert driver.figures()["failures"][0]["reason"] == "no way"
    driver.now += 1000
    item = driver.next()
    assert item is not None
    driver.plan.done(item)
    for item in (driver.next(), driver.next()):
        assert item is not None
        driver.plan.done(item)
    assert (summary(driver.figures(), True), driver.figures()["failures"]) == ("complete", [])


def test_a_file_that_its_owner_does_not_give_holds_up_no_other() -> None:
    driver = Driver()
    driver.want(record("bad"), "first")
    driver.want(record("good"), "first")
    bad = driver.next()
    assert bad is not None
    driver.plan.failed(bad, "not there", driver.now)
    assert driver.due() == ["good"]
    assert driver.plan.wait(driver.now) == FILE_PAUSES_S[0]
    driver.now += FILE_PAUSES_S[0]
    assert driver.next() is bad
    driver.plan.failed(bad, "not there", driver.now)
    assert driver.plan.wait(driver.now) == 2 * FILE_PAUSES_S[0]
    assert driver.figures()["failures"] == [{"node_id": "node-a", "export_path": "/bad", "reason": "not there"}]
    assert summary({**driver.figures(), "files_fetching": 0}, True) == "failed"


def test_what_does_not_fit_is_told_and_smaller_files_are_tried() -> None:
    driver = Driver()
    driver.want(record("large", size=100), "first", here=20)
    driver.want(record("larger", size=200), "first")
    driver.want(record("small", size=5), "first")
    large = driver.next()
    assert large is not None
    driver.plan.refused(large, "too few", driver.now)
    assert driver.due() == ["small"]
    figures = driver.figures()
    assert (figures["files_without_room"], figures["bytes_without_room"]) == (2, 280)
    assert summary(figures, True) == "no_room"
    driver.now += ROOM_PAUSE_S
    assert driver.next() is large
    driver.plan.freed()
    assert driver.due() == ["larger"]


def test_what_was_lost_is_fetched_again() -> None:
    driver = Driver()
    driver.want(record("a"), "first", here=10, whole=True)
    item = driver.plan.items["node-a.a"]
    driver.plan.lost(item, 4, driver.now)
    assert driver.figures()["bytes_present"] == 4
    assert driver.next() is item
    assert summary(driver.figures(), False) == "looking"
