"""The promise of the whole: disk, mount and API give the same bytes, and the mount shows what is on the disk.

``MOSAICFS_ACCEPTANCE_TREE=/usr/share`` runs it over a tree of the machine's own, with a larger sample.
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

OWN = os.environ.get("MOSAICFS_ACCEPTANCE_TREE")
SAMPLE = 1000 if OWN else 200

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


def test_disk_mount_and_api_agree(machine: Any) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this user cannot mount: no access to /dev/fuse")
    root = Path(OWN) if OWN else machine.tree
    if not OWN:
        plant(root)
    pytest.importorskip("pyfuse3", reason="the extra `fuse` is not installed")
    up = machine.up("--mount", str(machine.mount), str(root))
    facts = up.wait_ready()
    assert facts["mount"] == str(machine.mount), facts["mount_problem"]
    (shown_at,) = machine.mount.glob(f"machines/*/{root.name}")

    on_disk, shown = set(regular_files(root)), set(regular_files(shown_at))
    assert shown <= on_disk
    # What is missing is missing for a reason that somebody wrote down.
    missing = on_disk - shown
    ignored = set() if OWN else {path for path in on_disk if path.startswith("part-1/") and path.endswith(".bin")}
    assert len(shown) > 200
    assert missing == ignored or (OWN and len(missing) <= len(on_disk) * 0.01)

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
