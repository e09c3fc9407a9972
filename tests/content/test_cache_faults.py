"""The cache when its process is killed, its disk is full, and whatever else in any order (state machine)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.content import crash_child
from tests.content.bed import MIB, Bed, content, flip

from mosaicfs_core.content.cache import entry
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.hooks import FileRecord

pytestmark = pytest.mark.logs("^a transfer failed|damaged|begins anew|cannot be used|^Error handling request")

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("MOSAICFS_CRASH_ROUNDS", "12"))


async def test_killed_at_any_moment_it_serves_no_wrong_byte(bed: Bed, tmp_path: Path) -> None:
    for name, data in crash_child.contents().items():
        bed.put(name, data)
    line = [
        sys.executable,
        "-m",
        "tests.content.crash_child",
        bed.owner.url,
        str(tmp_path / "killed"),
        str(ROUNDS),
        "1",
    ]
    child = await asyncio.create_subprocess_exec(*line, cwd=ROOT, stderr=subprocess.PIPE)
    _, said = await child.communicate()
    assert child.returncode == 0, said.decode()[-2000:]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_fails_no_read(make_bed: Any, small_disk: Path) -> None:
    bed = await make_bed(small_disk / "cache")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2 * MIB))
    big = content(60 * MIB)
    files = [(bed.put(f"f{n}", content(3 * MIB, n)), content(3 * MIB, n)) for n in range(4)]
    film = bed.put("film", big)
    for file, data in files:
        assert await bed.read(file) == data
    assert await bed.read(film, 5 * MIB, 20 * MIB) == big[5 * MIB : 25 * MIB]
    fill_up(filler)
    for file, data in files:
        assert await bed.read(file) == data
    assert await bed.read(film, 30 * MIB, 3 * MIB) == big[30 * MIB : 33 * MIB]
    filler.unlink()
    await bed.read(files[0][0])
    bed.owner.requests.clear()
    assert await bed.read(files[0][0]) == files[0][1]
    assert bed.owner.gets() == [], "with room again it is kept"


def fill_up(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(bytes(65536)):
            pass


class CacheMachine(RuleBasedStateMachine):
    """Any order of reads, edits with and without a document, restarts, damage, and an owner that comes and goes.

    A read gives the bytes of one version that the owner has had since the document's, or an error; never a mixture.
    """

    NAMES: ClassVar = ("small", "big")
    SIZES: ClassVar = {"small": MIB + 5, "big": 3 * MIB + 77}

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = tempfile.TemporaryDirectory()
        self.bed = Bed(Path(self.place.name) / "cache")
        self.bed.patience_s = 2.0
        self.versions: dict[str, list[bytes]] = {name: [] for name in self.NAMES}
        self.documents: dict[str, tuple[int, FileRecord]] = {}
        self.seed = 0
        self.up = True

    @initialize()
    def begin(self) -> None:
        self.runner.run(self.bed.start())
        for name in self.NAMES:
            self.edit(name, told=True)

    @rule(name=st.sampled_from(NAMES), told=st.booleans(), grows=st.booleans())
    def edit(self, name: str, told: bool, grows: bool = False) -> None:
        self.seed += 1
        data = content(self.SIZES[name] + (self.seed if grows else 0), self.seed)
        self.versions[name].append(data)
        record = self.bed.put(name, data, mtime=self.seed)
        if told:
            self.documents[name] = (len(self.versions[name]) - 1, record)

    @rule(name=st.sampled_from(NAMES), offset=st.integers(0, 4 * MIB), length=st.integers(1, 2 * MIB))
    def read(self, name: str, offset: int, length: int) -> None:
        number, record = self.documents[name]
        try:
            data = self.runner.run(self._read(record, offset, length))
        except MosaicError:
            return
        finally:
            self._settled()
        possible = self.versions[name][number:]
        assert any(data == version[offset : offset + length] for version in possible)

    async def _read(self, record: FileRecord, offset: int, length: int) -> bytes:
        with await self.bed.open(record) as source:
            first, second = await asyncio.gather(source.read(offset, length), source.read(offset, length))
        assert first == second
        return first

    def _settled(self) -> None:
        """What the cache does in the background must not meet the next step at random."""
        self.runner.run(self.bed.settled())

    @rule()
    def restart(self) -> None:
        self.runner.run(self.bed.restart())

    @rule(where=st.integers(0, 1 << 30), number=st.integers(0, 3))
    def flip(self, where: int, number: int) -> None:
        files = self.bed.data_files()
        if files:
            path = files[number % len(files)]
            flip(path, where % path.stat().st_size, 0xFF)

    @rule(number=st.integers(0, 3))
    def delete(self, number: int) -> None:
        files = self.bed.data_files()
        if files:
            files[number % len(files)].unlink()

    @rule()
    def lose_the_index(self) -> None:
        (self.bed.place / "index.db").unlink(missing_ok=True)

    @rule(capacity=st.sampled_from([0, 2 * MIB, 1 << 40]))
    def resize(self, capacity: int) -> None:
        self.bed.settings["capacity"] = self.bed.cache.room.capacity = capacity

    @rule(trouble=st.sampled_from(["none", "damage", "cut"]))
    def trouble(self, trouble: str) -> None:
        self.bed.owner.cut = 1000 if trouble == "cut" else None
        self.bed.owner.disturb = (lambda _, body: bytes(len(body))) if trouble == "damage" else None

    def teardown(self) -> None:
        self.runner.run(self.bed.stop())
        self.runner.close()
        self.place.cleanup()


@pytest.fixture(autouse=True)
def blocks_for_small_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "CacheMachine" in request.node.name or "runTest" in request.node.name:
        monkeypatch.setattr(entry, "WHOLE_LIMIT", 2 * MIB)


CacheMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCacheMachine = CacheMachine.TestCase
