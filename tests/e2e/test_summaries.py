"""Protects that every document is summarized, once, whatever happens to the agent meanwhile.

``summarize`` runs as a program in the plugin directory, as anybody's program would. What it is run for is counted where
MosaicFS does not see it: by what stands on the ``PATH`` in front of ``mosaicfs``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pdfs import make, shipped
from tests.e2e.test_many_machines import Host, enrol

from mosaicfs_core.store import Reader

NUMBER = 300
KILLED_AT = (50, 130, 210)
WORKERS = 3
TWO_LINES = "#!/bin/sh\nexec mosaicfs plugin run summarize\n"
COUNTING = """#!/bin/sh
given=$(cat)
printf '%s\\n' "$given" >>"{log}"
printf '%s' "$given" | "{python}" -c "from mosaicfs_core.cli.start import main; main()" "$@"
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """A machine with everything, and one whose documents are summarized."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this user cannot mount: no access to /dev/fuse")
    pytest.importorskip("pyfuse3", reason="the extra `fuse` is not installed")
    made = [Host(tmp_path / name) for name in ("nas", "laptop")]
    yield made
    for host in made:
        if host.process is not None and host.process.poll() is None:
            host.end(signal.SIGKILL)
    mount = tmp_path / "mount"
    if str(mount) in Path("/proc/self/mountinfo").read_text():
        subprocess.run(["fusermount3", "-uz", str(mount)], check=False, capture_output=True)


class Executions:
    """What the program was run for, by whoever counts it."""

    def __init__(self, host: Host, directory: Path) -> None:
        self._log = directory / "executions"
        self._log.touch()
        counting = directory / "bin" / "mosaicfs"
        counting.parent.mkdir()
        counting.write_text(COUNTING.format(log=self._log, python=sys.executable))
        counting.chmod(0o755)
        host.environment["PATH"] = os.pathsep.join([str(counting.parent), os.environ["PATH"]])

    def paths(self) -> list[str]:
        """The export paths of the files, in the order of the runs."""
        # An empty line is of a run whose agent was killed before it said what for.
        lines = [line for line in self._log.read_text().splitlines() if line]
        return [json.loads(line)["payload"]["export_path"] for line in lines]


class Database:
    """A machine's documents, as its owner reads and writes them."""

    def __init__(self, host: Host, url: str) -> None:
        self._url = f"{url}/db/mosaicfs"
        self._token = (host.home / "run" / "local_token").read_text().strip()

    def annotations(self) -> list[dict[str, Any]]:
        """Every annotation there is."""
        return [row["doc"] for row in self._rows(include_docs="true")]

    def number(self) -> int:
        """How many annotations there are."""
        return len(self._rows())

    def put(self, document: dict[str, Any]) -> None:
        """Write a new document."""
        self._ask(urllib.parse.quote(document["_id"], safe=""), document)

    def _rows(self, **more: str) -> list[dict[str, Any]]:
        keys = {"startkey": '"annotation::"', "endkey": '"annotation:;"', **more}
        rows: list[dict[str, Any]] = self._ask(f"_all_docs?{urllib.parse.urlencode(keys)}")["rows"]
        return rows

    def _ask(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(f"{self._url}/{path}", None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.method = "PUT"
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def deploy(host: Host) -> None:
    """Put the two-line program where programs are looked for."""
    program = host.home / "plugins" / "summarize"
    program.parent.mkdir(mode=0o700, exist_ok=True)
    program.write_text(TWO_LINES)
    program.chmod(0o700)


def instance(node_id: str) -> dict[str, Any]:
    """The document that switches it on."""
    return {
        "_id": f"plugin::{node_id}::summarize",
        "type": "plugin",
        "node_id": node_id,
        "plugin_name": "summarize",
        "plugin_type": "executable",
        "name": "Summaries",
        "enabled": True,
        "subscribed_events": ["file.added", "file.modified"],
        "mime_globs": ["application/pdf"],
        "workers": WORKERS,
        "config": {"max_sentences": 3},
        "created_at": "2026-02-16T09:22:00.000000Z",
    }


def acknowledged(host: Host, node_id: str) -> set[str]:
    """The files whose annotation stands in a machine's replica, which nobody has open."""
    reader = Reader.open(host.home / "replica.db")
    try:
        return {found["export_path"] for found in reader.documents_of("annotation", (node_id,), limit=10_000)}
    finally:
        reader.close()


@pytest.mark.fuse
def test_each_document_is_summarized_once_and_seen_afar(hosts: list[Host], tmp_path: Path, eventually: Any) -> None:
    nas, laptop = hosts
    languages = make(laptop.tree, NUMBER)
    for serial, path in enumerate(shipped()):
        shutil.copy(path, laptop.tree / f"shipped-{serial}.pdf")
    documents = {str(path) for path in laptop.tree.iterdir()}
    runs = Executions(laptop, tmp_path)

    facts = nas.start("up", "--port", "0", "--mount", str(tmp_path / "mount"), str(nas.tree))
    assert facts["mount"], facts["mount_problem"]
    node_id = enrol(laptop, nas, facts["url"])
    there = Database(nas, facts["url"])
    deploy(laptop)
    there.put(instance(node_id))
    laptop.start("agent", "run", str(laptop.tree))

    done_before: set[str] = set()
    for number in KILLED_AT:
        eventually(lambda number=number: len(runs.paths()) >= number, 120)
        laptop.end(signal.SIGKILL)
        done = acknowledged(laptop, node_id)
        assert done_before <= done
        assert len(done) < len(documents)
        done_before, runs_before = done, len(runs.paths())
        laptop.start("agent", "run")
        eventually(lambda runs_before=runs_before: len(runs.paths()) > runs_before, 60)
        assert not done & set(runs.paths()[runs_before:])

    eventually(lambda: set(runs.paths()) == documents, 120)
    eventually(lambda: there.number() >= len(documents), 60)
    found = there.annotations()
    assert Counter(document["export_path"] for document in found) == Counter(documents)
    assert {(document["status"], document["annotated_by"]) for document in found} == {("ok", node_id)}
    assert not done_before & set(runs.paths()[runs_before:])
    # Those of which nothing was acknowledged ran once more: what a kill ended in the middle, and what had just ended.
    assert len(runs.paths()) <= len(documents) + 2 * WORKERS * len(KILLED_AT)

    said = {Path(document["export_path"]).name: document["data"] for document in found}
    assert {name: said[name]["language"] for name in languages} == languages
    for name, language in languages.items():
        assert bool(said[name]["summary"]) is (language is not None)
        assert ("problem" in said[name]) is (language is None)

    german = {name for name, data in said.items() if data["language"] == "de"}
    step = {"op": "annotation", "plugin_name": "summarize", "key": "language", "value": "de"}
    mount = {
        "source": {"node_id": node_id, "export_path": str(laptop.tree)},
        "strategy": "flatten",
        "steps": [step],
    }
    mounts = tmp_path / "mounts.json"
    mounts.write_text(json.dumps([mount]))
    nas.run("vfs", "mkdir", "/German")
    nas.run("vfs", "edit", "/German", "--file", str(mounts))
    assert german
    eventually(lambda: set(os.listdir(tmp_path / "mount" / "German")) == german)
    assert laptop.end() == 0
    assert nas.end() == 0


def test_the_package_itself_is_switched_on_by_its_name(machine: Any, eventually: Any) -> None:
    languages = make(machine.tree, 12)
    machine.up("--no-mount", str(machine.tree)).wait_ready()
    machine.run("plugin", "enable", "summarize")

    def found() -> set[str]:
        items = machine.run("search", "--annotation", "summarize/language=de")["items"]
        return {item["name"] for item in items}

    german = {name for name, language in languages.items() if language == "de"}
    assert german
    eventually(lambda: found() == german, 60)
