"""A running MosaicFS with something of everything in it, for a client that knows the API by its description alone."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests
from requests.auth import AuthBase

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.notifications import Condition, raised
from mosaicfs_core.security import signatures
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner

PROGRAM: Final = (sys.executable, "-c", "from mosaicfs_core.cli.main import main; main()")
READY_S: Final = 60.0
TIMEOUT_S: Final = 30.0
AWAY_PATH: Final = "/home/owner/away.txt"
WORKING: Final = "annotator"
PROGRAM_AT_WORK: Final = """#!/bin/sh
cat >/dev/null
echo '{"seen": true}'
"""
COOKIE: Final = "mosaicfs_refresh"


class Token(AuthBase):
    """A bearer token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Signed(AuthBase):
    """A signature by a node's key, as an agent makes it."""

    def __init__(self, signer: NodeSigner, destination: str) -> None:
        self.signer = signer
        self.destination = destination

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        target = signatures.Target(
            method=str(request.method),
            destination=self.destination,
            path=request.path_url,
            body_sha256=signatures.sha256_of(body),
        )
        key = self.signer.key_for(self.destination)
        request.headers["Authorization"] = signatures.authorization(key, self.signer.key_id, target)
        return request


class Nobody(AuthBase):
    """No proof at all; it also keeps what a generator put there away."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.pop("Authorization", None)
        return request


class World:
    """The instance: who may ask it, and the ids of what is in it.

    ``own`` is its node, with real files; ``away`` is a node that is enrolled, has a file, and is not connected. What a
    request uses up (rules to delete, sessions to end, keys to disable) is made anew by the ``new_…`` functions.
    """

    def __init__(self, url: str, local_token: str, tree: Path) -> None:
        self.url = url
        self.tree = tree
        self.session = requests.Session()
        self.session.trust_env = False
        self.local = Token(local_token)
        self.own: str = self.ask("GET", "/api/system/info")["node_id"]
        self._numbers = itertools.count(1)
        self._fill()

    def ask(self, method: str, path: str, body: Any = None, *, auth: AuthBase | None = None, **more: Any) -> Any:
        """The decoded answer to a request that must succeed."""
        answer = self.session.request(
            method, self.url + path, json=body, auth=auth or self.local, timeout=TIMEOUT_S, **more
        )
        assert answer.ok, (method, path, answer.status_code, answer.text)
        return answer.json()

    def number(self) -> int:
        """A number that was not given before."""
        return next(self._numbers)

    def _fill(self) -> None:
        self.keys = [self.ask("POST", "/api/credentials", {"name": f"key {number}"}) for number in range(4)]
        self.user = Token(self.ask("POST", "/api/auth/login", self.login(), auth=Nobody())["access_token"])
        found = self.ask("GET", "/api/files", auth=self.user, params={"node_id": self.own})["items"]
        assert found, "the instance indexed nothing"
        self.file: str = found[0]["id"]
        self.file_path: str = found[0]["export_path"]
        self.shown_at: str = self.ask("GET", f"/api/files/{self.file}/paths", auth=self.user)["items"][0]
        self.away, self.node = self._enrol("Away")
        self.away_file: str = self._index_away()
        self.notification = self._tell()
        self.directory = self.new_directory()
        self.rule = self.new_rule()
        self.mount = self.new_mount()
        self.instance = self.new_instance()
        self.working = self._put_to_work()
        self.label()

    def _put_to_work(self) -> str:
        """An instance that works on the files of this node: the program in the plugin directory."""
        body = {"plugin_name": WORKING, "plugin_type": "executable", "subscribed_events": ["file.added"]}
        self.ask("POST", f"/api/nodes/{self.own}/plugins", body, auth=self.user)
        deadline = time.monotonic() + READY_S
        found: dict[str, Any] = {}
        while not found.get("total"):
            assert time.monotonic() < deadline, "the program annotated nothing"
            time.sleep(0.05)
            found = self.ask("GET", f"/api/annotations?plugin={WORKING}", auth=self.user)
        return WORKING

    def _enrol(self, name: str) -> tuple[str, Signed]:
        key = NodeKey.generate()
        made = self.ask("POST", "/api/nodes", {"name": name, "public_key": key.public}, auth=self.user)
        known = {made["control_plane_id"]: made["control_plane_key"]}
        return made["node_id"], Signed(NodeSigner(made["node_id"], key, known.get), made["control_plane_id"])

    def _index_away(self) -> str:
        document = self.away_document(AWAY_PATH)
        answer = self.ask("POST", "/api/agent/files/bulk", {"documents": [document]}, auth=self.node)
        assert answer["written"] == 1, answer
        return ids.short_file_id(document["_id"])

    def _tell(self) -> str:
        """A notification of the node that is away; its id."""
        document = raised(None, Condition(self.away, "disk", "disk_full", "warning", "The disk is full"), 0)
        assert document is not None
        body = {"docs": [{**document, "_rev": f"1-{'a' * 32}"}], "new_edits": False}
        answer = self.ask("POST", "/db/mosaicfs/_bulk_docs", body, auth=self.node)
        assert answer == [], answer
        return ids.short_notification_id(document["_id"])

    def away_document(self, path: str) -> dict[str, Any]:
        """A file document of the node that is away."""
        identifier = ids.file_document_id(self.away, ids.first_file_uuid(self.away, path))
        parent, _, name = path.rpartition("/")
        return {
            "_id": identifier,
            "type": "file",
            "inode": ids.derived_inode(identifier),
            "name": name,
            "source": {"node_id": self.away, "export_path": path, "export_parent": parent or "/"},
            "size": 1,
            "mtime": times.format_time(0),
            "status": "active",
        }

    def login(self) -> dict[str, str]:
        """What signing in takes; a key each time, since attempts with one are limited."""
        key = self.keys[self.number() % len(self.keys)]
        return {"access_key_id": key["access_key_id"], "secret_key": key["secret_key"]}

    def new_link(self) -> str:
        """A login link's token."""
        token: str = self.ask("POST", "/api/auth/link")["token"]
        return token

    def new_session(self) -> tuple[str, str]:
        """A signed-in session: its token and its refresh cookie."""
        answer = requests.post(f"{self.url}/api/auth/bootstrap", json={"token": self.new_link()}, timeout=TIMEOUT_S)
        assert answer.ok, answer.text
        return answer.json()["access_token"], answer.cookies[COOKIE]

    def new_key(self) -> str:
        """An access key that nobody uses."""
        made: str = self.ask("POST", "/api/credentials", {"name": "spare"}, auth=self.user)["id"]
        return made

    def new_public_key(self) -> str:
        """The public key of a machine that is not enrolled."""
        return NodeKey.generate().public

    def new_node(self) -> str:
        """A node that nobody needs."""
        return self._enrol("Spare")[0]

    def new_rule(self) -> str:
        """A label rule."""
        body = {"path_prefix": f"/rule/{self.number()}", "labels": ["ruled"]}
        made: str = self.ask("POST", "/api/labels/rules", body, auth=self.user)["id"]
        return made

    def mount_body(self) -> dict[str, Any]:
        """A network mount that is not there yet."""
        return {
            "remote_node_id": self.away,
            "remote_base_export_path": "/home/owner",
            "local_mount_path": f"/mnt/{self.number()}",
            "mount_type": "nfs",
        }

    def new_mount(self) -> str:
        """A network mount of this node."""
        made: str = self.ask("POST", f"/api/nodes/{self.own}/mounts", self.mount_body(), auth=self.user)["id"]
        return made

    def instance_body(self) -> dict[str, Any]:
        """A plugin instance that is not there yet. Its package is not installed: it does nothing, whatever is set."""
        return {"plugin_name": f"spare-{self.number()}"}

    def new_instance(self) -> str:
        """A plugin instance of this node."""
        made: str = self.ask("POST", f"/api/nodes/{self.own}/plugins", self.instance_body(), auth=self.user)["id"]
        return made

    def new_path(self) -> str:
        """A virtual path where nothing is."""
        return f"/made-{self.number()}"

    def directory_body(self) -> dict[str, Any]:
        """A virtual directory that is not there yet, with a source of files and a step."""
        return {"path": self.new_path(), **self.draft(), "steps": [{"op": "glob", "pattern": "*.txt"}]}

    def draft(self) -> dict[str, Any]:
        """Mounts of a virtual directory."""
        return {"mounts": [{"source": {"node_id": self.own, "export_path": str(self.tree)}}]}

    def new_directory(self) -> str:
        """A virtual directory."""
        made: str = self.ask("POST", "/api/vfs/directories", self.directory_body(), auth=self.user)["path"]
        return made

    def pin_body(self, name: str = "kept") -> dict[str, Any]:
        """A pin: everything that the tree shows of this node stays on it."""
        return {"name": name, "nodes": [self.own], "directory": "/machines"}

    def new_pin(self) -> str:
        """A pin."""
        made: str = self.ask("PUT", "/api/pins", self.pin_body("spare"), auth=self.user)["name"]
        return made

    def label(self) -> str:
        """Put a label on the file; its id."""
        self.ask("PUT", "/api/labels/assignments", {"file_id": self.file, "add": ["seen"]}, auth=self.user)
        return self.file


@contextmanager
def running_world(path: Path) -> Iterator[World]:
    """A process of MosaicFS over an empty home and a small tree, filled, around a block."""
    home, tree, log = path / "home", path / "tree", path / "stderr.log"
    program = home / "plugins" / WORKING
    program.parent.mkdir(mode=0o700, parents=True)
    program.write_text(PROGRAM_AT_WORK)
    program.chmod(0o700)
    (tree / "Work").mkdir(parents=True)
    (tree / "Work" / "report.txt").write_text("the report\n")
    (tree / "picture.png").write_bytes(bytes(range(256)) * 40)
    environment = {**os.environ, "HOME": str(path), "XDG_CONFIG_HOME": str(path / "config")}
    environment.pop("MOSAICFS_HOME", None)
    command = [*PROGRAM, "--json", "--home", str(home), "up", "--port", "0", "--no-mount", "--safe-mode", str(tree)]
    with open(log, "wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
    assert process.stdout is not None
    try:
        readable, _, _ = select.select([process.stdout], [], [], READY_S)
        line = process.stdout.readline() if readable else b""
        assert line, log.read_text()[-3000:]
        world = World(json.loads(line)["url"], (home / "run" / "local_token").read_text().strip(), tree)
        with world.session:
            yield world
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
