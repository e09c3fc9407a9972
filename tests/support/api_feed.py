"""Real ids for generated requests: what Schemathesis cannot guess, put into its cases.

``PATHS``, ``QUERIES`` and ``BODIES`` say what exists in a ``World``, ``asking`` who sends a request. What a request
uses up is made for it just before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from api_world import COOKIE, Token, World
from requests.auth import AuthBase
from schemathesis import Case
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation

Make = Callable[[World], Any]

PATHS: Final[Mapping[str, Make]] = {
    "file_id": lambda world: world.file,
    "key_id": lambda world: world.new_key(),
    "mount_id": lambda world: world.mount,
    "name": lambda world: world.instance,
    "node_id": lambda world: world.own,
    "notification_id": lambda world: world.notification,
    "rule_id": lambda world: world.rule,
}
"""By the name of the parameter."""

USED_UP: Final[Mapping[str, Mapping[str, Make]]] = {
    "DELETE /api/labels/rules/{rule_id}": {"rule_id": lambda world: world.new_rule()},
    "DELETE /api/nodes/{node_id}": {"node_id": lambda world: world.new_node()},
    "DELETE /api/nodes/{node_id}/mounts/{mount_id}": {"mount_id": lambda world: world.new_mount()},
    "DELETE /api/nodes/{node_id}/plugins/{name}": {"name": lambda world: world.new_instance()},
}
"""Path parameters of operations that take away what they name."""

AT_WORK: Final[Mapping[str, Mapping[str, Make]]] = {
    operation: {"name": lambda world: world.working}
    for operation in (
        "GET /api/nodes/{node_id}/plugins/{name}/jobs",
        "POST /api/nodes/{node_id}/plugins/{name}/jobs/retry",
        "POST /api/nodes/{node_id}/plugins/{name}/sync",
    )
}
"""Path parameters of operations that ask something of an instance that works on files."""

QUERIES: Final[Mapping[str, Mapping[str, Make]]] = {
    "DELETE /api/annotations": {"plugin": lambda world: world.working},
    "DELETE /api/labels/assignments": {"file_id": lambda world: world.label()},
    "DELETE /api/pins": {"name": lambda world: world.new_pin()},
    "DELETE /api/vfs/directory": {"path": lambda world: world.new_directory()},
    "GET /api/files": {"node_id": lambda world: world.own, "mime_type": lambda _: "image/*"},
    "GET /api/files/by-path": {"path": lambda world: world.shown_at},
    "GET /api/labels/assignments": {"file_id": lambda world: world.label()},
    "GET /api/labels/effective": {"file_id": lambda world: world.file},
    "GET /api/labels/rules": {"label": lambda _: "ruled"},
    "GET /api/nodes/{node_id}/exclusions": {"path": lambda world: str(world.tree)},
    "GET /api/nodes/{node_id}/files": {"export_path": lambda world: world.file_path},
    "GET /api/search": {"q": lambda _: "report", "node_id": lambda world: world.own},
    "GET /api/vfs": {"path": lambda world: world.directory},
    "GET /api/vfs/directory": {"path": lambda world: world.directory},
    "GET /api/vfs/explain": {"path": lambda world: world.shown_at, "file_id": lambda world: world.file},
    "GET /api/vfs/tree": {"path": lambda _: "/"},
    "PATCH /api/vfs/directory": {"path": lambda world: world.new_directory()},
    "POST /api/agent/relay/{ticket}": {"at": lambda _: 0},
    "POST /api/vfs/preview": {"path": lambda world: world.directory},
}
"""Query parameters that name something, by operation."""

BODIES: Final[Mapping[str, Make]] = {
    "PATCH /api/credentials/{key_id}": lambda _: {"name": "renamed"},
    "PATCH /api/labels/rules/{rule_id}": lambda _: {"labels": ["ruled", "again"]},
    "PATCH /api/nodes/{node_id}": lambda _: {"friendly_name": "Renamed"},
    "PATCH /api/nodes/{node_id}/mounts/{mount_id}": lambda world: world.mount_body(),
    "PATCH /api/nodes/{node_id}/plugins/{name}": lambda _: {"paused": True},
    "PATCH /api/vfs/directory": lambda world: {"path": world.new_path(), **world.draft()},
    "POST /api/agent/files/bulk": lambda world: {"documents": [world.away_document(f"/made/{world.number()}.txt")]},
    "POST /api/agent/query": lambda _: {"capability": "search", "query": "words"},
    "POST /api/agent/relay/{ticket}": lambda _: b"a piece",
    "POST /api/agent/heartbeat": lambda _: {"overall": "healthy"},
    "POST /api/agent/configuration": lambda _: {"documents": [{"_id": "dir::root", "type": "virtual_directory"}]},
    "POST /api/agent/revocations": lambda _: {"items": [{"id": "dir::root", "number": 1, "proof": "none"}]},
    "POST /api/agent/status": lambda _: {"overall": "healthy"},
    "POST /api/agent/utilization": lambda _: {"captured_at": "2026-02-16T09:22:00.000000Z", "filesystems": []},
    "POST /api/auth/bootstrap": lambda world: {"token": world.new_link()},
    "POST /api/auth/login": lambda world: world.login(),
    "POST /api/credentials": lambda _: {"name": "made"},
    "POST /api/labels/rules": lambda world: {"path_prefix": str(world.tree), "labels": ["ruled"], "node_id": world.own},
    "POST /api/labels/rules/preview": lambda world: {"path_prefix": str(world.tree)},
    "POST /api/nodes": lambda world: {"name": "Made", "public_key": world.new_public_key()},
    "POST /api/nodes/{node_id}/crawl": lambda world: {"prefixes": [str(world.tree)]},
    "POST /api/nodes/{node_id}/mounts": lambda world: world.mount_body(),
    "POST /api/nodes/{node_id}/plugins": lambda world: world.instance_body(),
    "POST /api/nodes/{node_id}/plugins/{name}/jobs/retry": lambda _: {},
    "POST /api/query": lambda _: {"capability": "search", "query": "words"},
    "POST /api/system/reindex": lambda _: {},
    "POST /api/vfs/directories": lambda world: world.directory_body(),
    "POST /api/vfs/preview": lambda world: world.draft(),
    "PUT /api/pins": lambda world: world.pin_body(),
    "PUT /api/labels/assignments": lambda world: {"file_id": world.file, "add": ["seen"]},
}
"""Bodies that are right as they stand, by operation."""

AWAY: Final = {
    "GET /api/files/{file_id}/content": "the bytes of a machine that is away are not here",
    "GET /api/nodes/{node_id}/exclusions": "only the machine itself knows what it leaves out",
    "GET /api/nodes/{node_id}/plugins/{name}/jobs": "the machine itself has the queue",
    "POST /api/nodes/{node_id}/crawl": "the machine itself crawls",
    "POST /api/nodes/{node_id}/plugins/{name}/jobs/retry": "the machine itself has the queue",
    "POST /api/nodes/{node_id}/plugins/{name}/sync": "the machine itself brings its plugins up to date",
    "POST /api/nodes/{node_id}/rescan": "the machine itself looks at what is installed there",
    "POST /api/nodes/{node_id}/sync": "the machine itself brings its plugins up to date",
}
"""Operations that take another machine, and why: while it is away the answer is 503. Nowhere else may it be."""

BY_NODE: Final = "/api/agent/"
BY_USER: Final = "/api/agent/transfer/"
"""Nodes ask one another here; of its own files the instance also tells its user."""


def asking(world: World, operation: str, path: str) -> tuple[AuthBase, dict[str, str]]:
    """Who sends a request, and with which cookies.

    Signing out gets a session of its own: with the user's, everything after it would be refused.
    """
    if operation == "POST /api/auth/logout":
        token, cookie = world.new_session()
        return Token(token), {COOKIE: cookie}
    if operation == "POST /api/auth/refresh":
        return world.user, {COOKIE: world.new_session()[1]}
    if operation == "POST /api/auth/link":
        return world.local, {}
    if path.startswith(BY_NODE) and not path.startswith(BY_USER):
        return world.node, {}
    return world.user, {}


def paths_of(operation: str) -> dict[str, Make]:
    """What an operation's path parameters are made of, by name."""
    return {**PATHS, **USED_UP.get(operation, {}), **AT_WORK.get(operation, {})}


def feed_path(case: Case, world: World) -> None:
    """Put what exists into the path, unless the case is about a path that is wrong."""
    operation = case.operation.label
    if case.meta is not None and case.meta.is_negative_at(ParameterLocation.PATH):
        return
    known = paths_of(operation)
    given = case.path_parameters or {}
    if set(given) & set(known):
        case.path_parameters = {name: known[name](world) if name in known else value for name, value in given.items()}


def feed_all(case: Case, world: World) -> None:
    """Make the case name what exists, and keep the rest of it as it was generated."""
    feed_path(case, world)
    operation = case.operation.label
    query = QUERIES.get(operation, {})
    case.query = {**(case.query or {}), **{name: make(world) for name, make in query.items()}}
    right = BODIES[operation](world) if operation in BODIES else None
    if isinstance(right, dict) and isinstance(case.body, dict):
        case.body = {**right, **{name: value for name, value in case.body.items() if name not in right}}


def feed_away(case: Case, world: World) -> None:
    """Like ``feed_all``, but of the machine that is away, where nothing is used up."""
    feed_all(case, world)
    if case.operation.label not in USED_UP:
        theirs = {"node_id": world.away, "file_id": world.away_file}
        given = case.path_parameters or {}
        if set(given) & set(theirs):
            case.path_parameters = {name: theirs.get(name, value) for name, value in given.items()}
        if case.query and set(case.query) & set(theirs):
            case.query = {name: theirs.get(name, value) for name, value in case.query.items()}


def make_right(case: Case, world: World) -> None:
    """Make the case one that must succeed: what exists, and nothing else."""
    feed_path(case, world)
    operation = case.operation.label
    case.query = {name: make(world) for name, make in QUERIES.get(operation, {}).items()}
    case.body = BODIES[operation](world) if operation in BODIES else NOT_SET
