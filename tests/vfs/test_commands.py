"""Protects ``mosaicfs vfs``: each command against a running application, the editor's loop, and its tables."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from mosaicfs_core import documents as d
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import Conflict, MosaicError, NotFound, Stale, UserError
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.harness import Harness
from mosaicfs_vfs import commands

ERRORS = {400: UserError, 404: NotFound, 409: Conflict, 412: Stale}


class LocalApi:
    """``hooks.Api`` over an application in this process."""

    def __init__(self, runner: asyncio.Runner, app: Any) -> None:
        self._runner = runner
        self._app = app

    def get(self, address: str, /, **params: Any) -> Any:
        return self.send("GET", address, None, **params)

    def get_with_etag(self, address: str, /, **params: Any) -> tuple[Any, str | None]:
        return self._runner.run(self._ask("GET", address, None, params))

    def send(
        self, method: str, address: str, body: Any = None, /, *, if_match: str | None = None, **params: Any
    ) -> Any:
        return self._runner.run(self._ask(method, address, body, params, if_match))[0]

    async def _ask(
        self, method: str, address: str, body: Any, params: dict[str, Any], if_match: str | None = None
    ) -> tuple[Any, str | None]:
        headers = {"Authorization": f"Bearer {self._app.extensions[EXTENSION].local_token}"}
        if if_match is not None:
            headers["If-Match"] = if_match
        given = {} if body is None else {"json": body}
        answer = await self._app.test_client().open(
            f"/api/{address}",
            method=method,
            headers=headers,
            query_string=params,
            scope_base={"client": ("127.0.0.1", 50000)},
            **given,
        )
        decoded = await answer.get_json()
        if answer.status_code >= 400:
            raise ERRORS.get(answer.status_code, MosaicError)(decoded["error"]["message"])
        return decoded, answer.headers.get("ETag")


class Shell:
    """Runs commands. ``files`` can be indexed; ``json`` is the global option."""

    def __init__(self, runner: asyncio.Runner, harness: Harness, app: Any) -> None:
        self.harness = harness
        self._runner = runner
        self._api = LocalApi(runner, app)

    def file(self, path: str) -> None:
        node = self.harness.core.node_id
        identifier = d.file_document_id(node, d.first_file_uuid(node, path))
        document = {
            "_id": identifier,
            "type": "file",
            "inode": d.derived_inode(identifier),
            "name": d.name_of(path),
            "source": {"node_id": node, "export_path": path, "export_parent": d.parent_of(path)},
            "size": 1,
            "mtime": d.format_time(d.now_micros()),
            "status": "active",
        }
        self._runner.run(self.harness.store.put(document))

    def run(self, *words: str, json: bool = False, stdin: str | None = None) -> Result:
        context = TerminalContext()
        context.json = json
        context.__dict__["api"] = self._api
        group = click.Group()
        commands.register(group, context)
        return CliRunner().invoke(group, ["vfs", *words], input=stdin)

    def say(self, *words: str, **given: Any) -> str:
        result = self.run(*words, **given)
        assert result.exception is None, result.exception
        return result.output


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with asyncio.Runner() as runner:
        harness_manager = Harness.start(tmp_path / "home", only=["vfs"])
        harness = runner.run(harness_manager.__aenter__())
        app_manager = running_app(harness.core)
        app = runner.run(app_manager.__aenter__())
        runner.run(app.startup())
        yield Shell(runner, harness, app)
        runner.run(app.shutdown())
        runner.run(app_manager.__aexit__(None, None, None))
        runner.run(harness_manager.__aexit__(None, None, None))


def fields(source: str = "/s", **more: Any) -> str:
    return json.dumps({"mounts": [{"source": {"node_id": "*", "export_path": source}, **more}]})


def test_making_editing_and_listing(shell: Shell) -> None:
    for number in range(3):
        shell.file(f"/s/{number}.txt")
    shell.file("/s/in/deep.txt")
    assert "made /d" in shell.say("mkdir", "/d")
    assert "saved /d" in shell.say("edit", "/d", "--file", "-", stdin=fields())
    assert shell.say("ls", "/d").split() == ["0.txt", "1.txt", "2.txt", "in/"]
    assert shell.say("ls", "/d/1.txt").split() == ["/d/1.txt"]
    long = shell.say("ls", "-l", "/d")
    assert shell.harness.core.node_id in long
    listing = json.loads(shell.say("ls", "/d", json=True))
    assert (listing["total"], len(listing["items"])) == (4, 4)
    tree = shell.say("tree", "/")
    assert "  d/  (3 files)\n    in/  (1 file)\n" in tree
    shown = json.loads(shell.say("show", "/d"))
    assert shown["mounts"][0]["source"] == {"node_id": "*", "export_path": "/s"}
    assert "/d is now /e" in shell.say("mv", "/d", "/e")
    assert "removed /e" in shell.say("rmdir", "/e")
    assert isinstance(shell.run("ls", "/e").exception, NotFound)


def test_a_listing_of_many_pages(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_PAGE", 2)
    for number in range(5):
        shell.file(f"/s/{number}")
    shell.say("mkdir", "/d")
    shell.say("edit", "/d", "--file", "-", stdin=fields())
    assert shell.say("ls", "/d").split() == ["0", "1", "2", "3", "4"]


def test_names_that_are_not_utf8(shell: Shell) -> None:
    shell.file("/s/\U0010ffff.txt")
    shell.say("mkdir", "/d\udcfe")
    shell.say("edit", "/d\udcfe", "--file", "-", stdin=fields())
    assert shell.say("ls", "/d\udcfe").split() == ["\\xff.txt"]
    assert "shown at" in shell.say("explain", "/d\udcfe/\udcff.txt")


def test_rmdir_of_what_is_not_empty(shell: Shell) -> None:
    shell.say("mkdir", "-p", "/p/q")
    assert isinstance(shell.run("rmdir", "/p").exception, Conflict)
    assert "(it holds /p/q):" in str(shell.run("rmdir", "/p").exception)
    assert json.loads(shell.say("rmdir", "/p", "--force", json=True)) == {"removed": ["/p", "/p/q"]}


def test_rmdir_says_how_many_more_there_are(shell: Shell) -> None:
    for name in "abcde":
        shell.say("mkdir", "-p", f"/p/{name}")
    assert "(it holds /p/a, /p/b, /p/c and 2 more):" in str(shell.run("rmdir", "/p").exception)


def test_a_directorys_name_cannot_drive_the_terminal(shell: Shell) -> None:
    odd, shown = "/a\nb\x1b[31m", "/a\\nb\\x1b[31m"
    assert shell.say("mkdir", odd) == f"made {shown}\n"
    assert f"{shown[1:]}/" in shell.say("ls", "/").splitlines()
    assert shell.say("mv", odd, f"{odd}2") == f"{shown} is now {shown}2\n"
    assert shell.say("rmdir", f"{odd}2") == f"removed {shown}2\n"


def test_preview_and_explain(shell: Shell) -> None:
    shell.file("/s/a.txt")
    shell.file("/s/b.pdf")
    steps = [{"op": "glob", "pattern": "*.pdf"}]
    preview = shell.say("preview", "/p", "--file", "-", stdin=fields(steps=steps))
    assert "/p/b.pdf" in preview
    assert "a.txt" not in preview
    shell.say("mkdir", "/p")
    shell.say("edit", "/p", "--file", "-", stdin=fields(steps=steps))
    hidden = shell.say("explain", "/p/a.txt")
    assert "Step 1 (glob)" in hidden
    assert "does not match → exclude" in hidden
    assert "shown at /p/b.pdf" in shell.say("explain", "/s/b.pdf")
    assert json.loads(shell.say("explain", "/p/a.txt", json=True))["reason"] == "step"
    assert shell.run("explain").exit_code == 2


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Answers each opening of the editor with the next text (a function of what was shown); returns what was shown."""

    def use(*answers: Callable[[str], str | None]) -> list[str]:
        shown: list[str] = []
        waiting = iter(answers)

        def edit(text: str, extension: str) -> str | None:
            shown.append(text)
            return next(waiting)(text)

        monkeypatch.setattr(click, "edit", edit)
        return shown

    return use


def test_the_editor_opens_again_with_the_message(shell: Shell, editor: Any) -> None:
    shell.file("/s/a.txt")
    shell.say("mkdir", "/d")
    wrong = fields(steps=[{"op": "regex", "pattern": "("}])
    shown = editor(lambda _: "{ not json", lambda _: wrong, lambda text: text.replace('"("', '"a"'))
    assert "saved /d" in shell.say("edit", "/d")
    assert '"mounts": []' in shown[0]
    assert shown[1].startswith("// this is not JSON")
    assert "mounts[0].steps[0].pattern" in shown[2].splitlines()[0]
    assert shell.say("ls", "/d").split() == ["a.txt"]


def test_leaving_the_editor_without_a_change(shell: Shell, editor: Any) -> None:
    shell.say("mkdir", "/d")
    editor(lambda _: None)
    assert "nothing was changed" in shell.say("edit", "/d")
    wrong = fields(strategy="scatter")
    editor(lambda _: wrong, lambda text: text)
    assert isinstance(shell.run("edit", "/d").exception, UserError)


def test_an_edit_does_not_overwrite_another(shell: Shell, editor: Any) -> None:
    shell.say("mkdir", "/d")

    def meanwhile(_: str) -> str:
        shell.say("edit", "/d", "--file", "-", stdin=fields("/theirs"))
        return fields("/mine")

    editor(meanwhile)
    assert isinstance(shell.run("edit", "/d").exception, Conflict)
    assert json.loads(shell.say("show", "/d"))["mounts"][0]["source"]["export_path"] == "/theirs"


def test_an_edit_does_not_overwrite_one_that_came_at_the_last_moment(
    shell: Shell, editor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shell.say("mkdir", "/d")
    send = LocalApi.send

    def overtaken(self: LocalApi, method: str, *given: Any, **named: Any) -> Any:
        if method == "PATCH":
            monkeypatch.setattr(LocalApi, "send", send)
            shell.say("edit", "/d", "--file", "-", stdin=fields("/theirs"))
        return send(self, method, *given, **named)

    monkeypatch.setattr(LocalApi, "send", overtaken)
    editor(lambda _: fields("/mine"))
    error = shell.run("edit", "/d").exception
    assert isinstance(error, Conflict)
    assert "someone else" in error.message
    (kept,) = tmp_path.glob("mosaicfs-edit-*")
    assert "/mine" in kept.read_text()
    assert json.loads(shell.say("show", "/d"))["mounts"][0]["source"]["export_path"] == "/theirs"


def test_what_was_typed_is_never_lost(
    shell: Shell, editor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shell.say("mkdir", "/d")
    editor(lambda _: "{ not json", lambda text: text)
    error = shell.run("edit", "/d").exception
    (kept,) = tmp_path.glob("mosaicfs-edit-*")
    assert isinstance(error, UserError)
    assert str(kept) in error.message
    assert kept.read_text() == "{ not json\n"


def test_an_editor_that_fails(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.say("mkdir", "/d")
    monkeypatch.setenv("EDITOR", "false")
    monkeypatch.delenv("VISUAL", raising=False)
    error = shell.run("edit", "/d").exception
    assert isinstance(error, MosaicError)
    assert "set EDITOR" in error.message


def test_typing_errors_in_mounts_and_steps_are_named(shell: Shell) -> None:
    shell.say("mkdir", "/d")
    wrong = fields(stratgy="flatten", steps=[{"op": "glob", "pattern": "*.md", "invrt": True}, {"op": "who", "x": 1}])
    said = shell.run("edit", "/d", "--file", "-", stdin=wrong).stderr
    assert "mounts[0].stratgy: unknown key, it is kept but has no effect; did you mean strategy?" in said
    assert "mounts[0].steps[0].invrt: unknown key, it is kept but has no effect; did you mean invert?" in said
    assert "steps[1].x" not in said
    (mount,) = json.loads(shell.say("show", "/d"))["mounts"]
    assert (mount["stratgy"], mount["steps"][0]["invrt"]) == ("flatten", True)
    # What show prints can be given back as it is.
    assert shell.run("edit", "/d", "--file", "-", stdin=shell.say("show", "/d", json=True)).exception is None


def test_relative_paths_of_the_tree_are_refused(shell: Shell) -> None:
    refused = shell.run("mkdir", "rel")
    assert refused.exit_code == 2
    assert "begins with /" in refused.stderr


def test_a_relative_path_is_one_of_the_disk(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    shell.file(f"{place}/a.txt")
    shell.say("mkdir", "-p", str(place))
    shell.say("mkdir", f"{place}/sub")
    monkeypatch.chdir(place)
    assert f"{place}/sub is a virtual directory" in shell.say("explain", f"{place}/sub")
    assert shell.say("explain", "sub").startswith(f"On disk no watched folder holds {place}/sub.")
    assert f"No mount covers {place}/a.txt" in shell.say("explain", "a.txt")
    assert shell.run("explain", "a.txt", "--file-id", "x").exit_code == 2


def test_what_would_help_is_named(shell: Shell) -> None:
    shell.say("mkdir", "-p", "/p/q")
    assert "--force" in str(shell.run("rmdir", "/p").exception)
    missing = str(shell.run("mkdir", "/x/y/z").exception)
    assert ("--parents" in missing, "API" in missing) == (True, False)


def test_a_newline_in_a_name_does_not_break_an_explanation(shell: Shell) -> None:
    shell.file("/s/new\nline.txt")
    assert "/s/new\\nline.txt" in shell.say("explain", "/s/new\nline.txt")


@pytest.mark.parametrize(
    "given", ["not json", "3", "{}", "[]", '{"colour": "red"}', '{"mount": [], "steps": []}', "[3]"]
)
def test_input_that_is_no_edit(shell: Shell, given: str) -> None:
    shell.say("mkdir", "/d")
    assert isinstance(shell.run("edit", "/d", "--file", "-", stdin=given).exception, UserError)
