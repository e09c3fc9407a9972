"""The promise of the whole: disk, mount and API give the same bytes, and the mount shows what is on the disk, but for
what is said to be left out.

It is held over a tree that has everything odd, and over one of the machine's own (``MOSAICFS_ACCEPTANCE_TREE`` names
another than ``/usr/share``), of which at least 99 % must be shown.
"""

from __future__ import annotations

import json
import os
import random
import stat
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents.paths import escape

OWN = Path(os.environ.get("MOSAICFS_ACCEPTANCE_TREE", "/usr/share"))
SAMPLE = 1_000

pytestmark = pytest.mark.fuse


def regular_files(root: Path) -> Iterator[str]:
    """Paths of regular files below a root, relative to it. Links are not followed and are no regular files."""
    for place, _, names in os.walk(root):
        for name in names:
            path = os.path.join(place, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, root)


def plant(root: Path) -> None:
    """A tree with what trees have: odd names, empty and large files, links, and things left out."""
    source = random.Random(7)
    odd = [
        "with space",
        "new\nline",
        "quote'\"",
        "emoji-🎼",
        "x" * 255,
        os.fsdecode(b"latin-\xe9"),
        "-dash",
        "%41",
        "#",
    ]
    for number in range(60):
        place = root / f"part-{number % 7}" / f"deep-{number % 5}" / f"er-{number}"
        place.mkdir(parents=True)
        for serial in range(5):
            (place / f"file-{serial}.bin").write_bytes(source.randbytes(source.choice([0, 1, 4096, 70_000])))
    for name in odd:
        (root / "part-0" / name).write_bytes(source.randbytes(500))
    (root / "large.bin").write_bytes(source.randbytes(5_000_000))
    (root / "link").symlink_to("large.bin")
    (root / "loop").symlink_to(".")
    (root / "out").symlink_to("/etc")
    os.mkfifo(root / "pipe")
    (root / "part-1" / ".mosaicfsignore").write_text("*.bin\n")


def through_the_api(url: str, token: str, file_id: str) -> bytes:
    """A file's bytes over HTTP."""
    request = urllib.request.Request(
        f"{url}/api/files/{urllib.parse.quote(file_id)}/content", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def left_out(machine: Any, root: Path, paths: set[str]) -> set[str]:
    """Which of these paths of regular files MosaicFS names as left out, themselves or a directory above them."""
    items = machine.run("files", "excluded", str(root))["items"]
    assert all(item["reason"] and item["count"] == 1 for item in items)
    named = {item["export_path"] for item in items}
    above = {path: [root / path, *(root / path).parents] for path in paths}
    return {path for path in paths if any(escape(os.fsencode(one)) in named for one in above[path])}


@pytest.mark.parametrize("kind", ["odd", "own"])
def test_disk_mount_and_api_agree(machine: Any, kind: str) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this user cannot mount: no access to /dev/fuse")
    pytest.importorskip("pyfuse3", reason="the extra `fuse` is not installed")
    root = OWN if kind == "own" else machine.tree
    if kind == "odd":
        plant(root)
    elif not root.is_dir():
        pytest.skip(f"this machine has no {root}")
    up = machine.up("--mount", str(machine.mount), str(root))
    facts = up.wait_ready()
    assert facts["mount"] == str(machine.mount), facts["mount_problem"]
    (shown_at,) = machine.mount.glob(f"machines/*/{root.name}")

    on_disk, shown = set(regular_files(root)), set(regular_files(shown_at))
    assert shown <= on_disk
    # What is missing is missing for a reason that MosaicFS tells, and nothing that it shows is said to be left out.
    assert left_out(machine, root, on_disk) == on_disk - shown
    if kind == "odd":
        assert on_disk - shown == {path for path in on_disk if path.startswith("part-1/") and path.endswith(".bin")}
    else:
        assert len(shown) >= len(on_disk) * 0.99

    token = (machine.home / "run" / "local_token").read_text().strip()
    for path in random.Random(1).sample(sorted(shown), min(SAMPLE, len(shown))):
        direct = (root / path).read_bytes()
        assert (shown_at / path).read_bytes() == direct, path
        record = machine_file(machine, facts["url"], token, str(root / path))
        assert through_the_api(facts["url"], token, record) == direct, path
    assert up.end() == 0


def machine_file(machine: Any, url: str, token: str, path: str) -> str:
    """The id of the file at a native path."""
    query = urllib.parse.urlencode({"export_path": escape(os.fsencode(path))})
    status, _, body = machine.http(f"{url}/api/files?{query}", token=token)
    assert status == 200, body
    (item,) = json.loads(body)["items"]
    return str(item["id"])
