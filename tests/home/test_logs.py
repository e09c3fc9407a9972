"""Protects the logs: the same fields in both formats, bounded files of mode 0600, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mosaicfs_core import logs
from mosaicfs_core.config import LoggingConfig
from mosaicfs_core.server.auth import keys
from mosaicfs_core.server.auth.sessions import LOCAL_PREFIX, Sessions
from mosaicfs_core.server.auth.tokens import Tokens

SECRET = "mosaicfs_" + "A1b2" * 10 + "xyz"
JWT = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"
log = logging.getLogger("mosaicfs.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    root = logging.getLogger()
    for handler in [h for h in root.handlers if getattr(h, "mosaicfs", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    for name in ("mosaicfs", "mosaicfs_core", "mosaicfs_vfs", "mosaicfs_plugins"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_json_lines_carry_the_fields() -> None:
    stream = io.StringIO()
    logs.configure(LoggingConfig(), stream=stream)
    log.info("crawled %d files", 3, extra={"operation": "crawl", "duration_ms": 12, "node_id": "node-a"})
    entry = json.loads(stream.getvalue())
    assert entry["message"] == "crawled 3 files"
    assert (entry["level"], entry["operation"], entry["duration_ms"], entry["node_id"]) == (
        "info",
        "crawl",
        12,
        "node-a",
    )
    assert entry["time"].endswith("Z")


@pytest.mark.logs("^login with|^failed")
@pytest.mark.parametrize("style", ["human", "json"])
def test_secrets_never_reach_a_log(style: str, tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure(LoggingConfig(format=style), tmp_path, stream)
    log.warning("login with %s and Bearer abc.def", SECRET, extra={"password": "pass1", "error": f"bad {JWT}"})
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError:
        log.exception("failed", extra={"secret_key": "s3cret"})
    written = stream.getvalue() + (tmp_path / "mosaicfs.log").read_text()
    for secret in (SECRET, JWT, "pass1", "s3cret", "abc.def"):
        assert secret not in written
    assert "Traceback" in written


@pytest.mark.logs("^cannot read")
def test_a_name_in_a_line_for_people_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    logs.configure(LoggingConfig(format="human"), None, stream)
    log.warning("cannot read %s", "/a\nb\x1b[31m", extra={"path": "\x1b]0;x\x07"})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("cannot read /a\\nb\\x1b[31m  path=\\x1b]0;x\\x07")


async def test_every_token_we_hand_out_is_recognized_wherever_it_stands(tmp_path: Path) -> None:
    sessions = await Sessions.open(tmp_path / "auth.db")
    tokens = Tokens(b"k" * 32)
    handed_out = {
        "link": await sessions.new_link(),
        "refresh": (await sessions.begin("MOSAICFS_00")).refresh_token,
        "local": LOCAL_PREFIX + secrets.token_urlsafe(32),
        "secret": keys.new_secret_key(),
        "session": tokens.issue_session("MOSAICFS_00", "s")[0],
        "download": tokens.issue_download("MOSAICFS_00", "n.u")[0],
    }
    await sessions.close()
    forms = (
        "{}",
        "http://127.0.0.1:6672/#bootstrap={}",
        '{{"token": "{}"}}',
        "mosaicfs_refresh={}; Path=/",
        "?token={}&a=1",
    )
    for token in handed_out.values():
        for form in forms:
            told = logs.redact(form.format(token))
            assert token not in told
            assert logs.HIDDEN in told
    assert logs.redact("/#bootstrap=of-an-older-form&x=1") == "/#bootstrap=[hidden]&x=1"
    assert logs.redact("Cookie: a=b; mosaicfs_refresh=older; c=d") == "Cookie: a=b; mosaicfs_refresh=[hidden]; c=d"


@pytest.mark.parametrize("text", ["MOSAICFS_0123456789abcdef", "mosaicfs_core.server.app", "a/b/token.txt?page=2"])
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert logs.redact(text) == text


def test_files_rotate_and_are_private(tmp_path: Path) -> None:
    logs.configure(LoggingConfig(rotate_bytes=2_000, keep=2), tmp_path, io.StringIO())
    for number in range(100):
        log.info("message %d", number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["mosaicfs.log", "mosaicfs.log.1", "mosaicfs.log.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.logs("cannot read")
def test_a_path_that_is_not_utf8_costs_no_line(tmp_path: Path) -> None:
    logs.configure(LoggingConfig(), tmp_path, io.StringIO())
    record = log.makeRecord(log.name, logging.ERROR, __file__, 1, "cannot read %s", ("/caf\udce9.txt",), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):  # pytest's own could not tell another process of it
            handler.handle(record)
    assert json.loads((tmp_path / "mosaicfs.log").read_text())["message"] == "cannot read /caf\udce9.txt"


def test_the_level_changes_at_run_time() -> None:
    stream = io.StringIO()
    logs.configure(LoggingConfig(level="warning"), stream=stream)
    log.info("unseen")
    logs.set_level("debug")
    log.debug("seen")
    assert "unseen" not in stream.getvalue()
    assert "seen" in stream.getvalue()


@pytest.mark.logs("^one line")
def test_a_full_disk_costs_log_lines_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = LoggingConfig()
    stream = io.StringIO()
    logs.configure(config, tmp_path, stream)
    full = logging.getLogger().handlers[-1]
    assert isinstance(full, logging.FileHandler)
    full.stream.close()
    full.stream = io.TextIOWrapper(io.FileIO("/dev/full", "a"), write_through=True)
    logging.getLogger("mosaicfs").error("one line")
    logs.configure(config, stream=io.StringIO())
    assert "one line" in stream.getvalue()
    assert capsys.readouterr().err == ""
