"""Protects every process from packages whose import ends it: they are imported in another one first, and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from importlib_metadata import EntryPoint

from mosaicfs_core import children
from mosaicfs_core.plugins import discovery, probing

HARMLESS = "from pathlib import Path; open(r'{told}', 'a').write('imported ')\n"
KINDS = {
    "exits": ("import os; os._exit(0)", "importing it ends the process (exit code 0)"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "importing it ends the process (signal 11)"),
    "raises": ("raise RuntimeError('no')", "RuntimeError: no"),
    "interrupts": ("raise KeyboardInterrupt", "importing it raised KeyboardInterrupt"),
    "leaves": ("raise SystemExit(0)", "SystemExit: 0"),
    "forks": ("import os; os.fork()", "importing it forks the process"),
    "leaves a fork": (
        "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n    os._exit(0)",
        "importing it forks the process",
    ),
    "closes descriptors": ("import os; os.close(1); os.close(2)", "importing it closes files that are not its own"),
    "closes streams": ("import sys; sys.stdout.close()", "importing it closes the streams"),
    "closes everything": ("import os; os.closerange(0, 4096)", "importing it closes files that are not its own"),
    "floods": ("print('x' * 100_000_000)", "importing it prints more than 1,048,576 bytes"),
    "handles signals": ("import signal; signal.signal(15, signal.SIG_IGN)", "signal only works in main thread"),
}


def install(packages: Path, name: str, source: str, version: str = "1") -> None:
    facts = packages / f"{name}-{version}.dist-info"
    facts.mkdir(parents=True)
    (packages / f"{name}.py").write_text(source)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (facts / "entry_points.txt").write_text(f"[mosaicfs]\n{name} = {name}\n")


def listed(tmp_path: Path) -> dict[str, Any]:
    """What ``plugin list`` shows with the packages of ``tmp_path``."""
    command = (sys.executable, "-c", children.PROGRAM, "--json", "--home", tmp_path / "home", "plugin", "list")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "packages"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {plugin["name"]: plugin for plugin in json.loads(done.stdout)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_it_is_named_and_the_rest_works(kind: str, tmp_path: Path) -> None:
    source, said = KINDS[kind]
    install(tmp_path / "packages", "fatal", source)
    found = listed(tmp_path)
    assert found["fatal"]["status"] == "failed"
    assert said in found["fatal"]["note"]
    assert found["localfs"]["status"] == "ok"


def test_what_it_writes_to_standard_output_is_no_part_of_an_answer(tmp_path: Path) -> None:
    install(tmp_path / "packages", "chatty", "import os; os.write(1, b'hello')")
    assert listed(tmp_path)["chatty"]["status"] == "failed"


def test_a_hard_limit_on_files_is_no_fault_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "packages", "limited", HARMLESS.format(told=tmp_path / "told"))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28)); "
    monkeypatch.setattr(children, "PROGRAM", limit + children.PROGRAM)
    assert "has no mosaicfs_manifest" in listed(tmp_path)["limited"]["note"]


def test_what_an_import_writes_is_written_whole(tmp_path: Path) -> None:
    cache = tmp_path / "written"
    source = (
        f"from pathlib import Path\nplace = Path(r'{cache}')\nplace.exists() or place.write_bytes(bytes(5 << 20))\n"
    )
    install(tmp_path / "packages", "writing", source)
    listed(tmp_path)
    assert cache.stat().st_size == 5 << 20


def test_a_hang_is_not_remembered_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, now = [], [1_000_000.0]

    def hangs(words: list[str], timeout: float, **_: Any) -> Any:
        looks.append(now[0])
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probing, "hear_out", hangs)
    monkeypatch.setattr(probing, "time", SimpleNamespace(time=lambda: now[0]))
    (hanging,) = discovery.installed_plugins([EntryPoint(name="hanging", value="hanging", group="mosaicfs")])
    for at in (0.0, probing.HANG_KNOWN_S - 1.0, probing.HANG_KNOWN_S):
        now[0] = 1_000_000.0 + at
        assert "its import has not ended" in (probing.fatal_import(hanging) or "")
    assert looks == [1_000_000.0, 1_000_000.0 + probing.HANG_KNOWN_S]


def test_an_import_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    told = tmp_path / "told"
    hanging = HARMLESS.format(told=told) + "import threading; threading.Event().wait()\n"
    install(tmp_path / "packages", "hanging", hanging)
    for _ in range(2):  # the first look makes the directory of what is compiled
        assert "its import has not ended" in listed(tmp_path)["hanging"]["note"]
    told.unlink(missing_ok=True)
    assert "it is tried again when" in listed(tmp_path)["hanging"]["note"]
    assert not told.exists()
    (tmp_path / "packages" / "hanging.py").write_text(HARMLESS.format(told=told))
    assert "has no mosaicfs_manifest" in listed(tmp_path)["hanging"]["note"]


def test_what_was_imported_once_is_not_tried_again_until_it_is_another_version(tmp_path: Path) -> None:
    told = tmp_path / "told"
    source = HARMLESS.format(told=told)
    install(tmp_path / "packages", "harmless", source)
    listed(tmp_path)
    first = told.read_text().split()
    told.unlink()
    listed(tmp_path)
    assert len(told.read_text().split()) == len(first) - 1
    told.unlink()
    (tmp_path / "packages" / "harmless.py").write_text(f"{source}# changed in place, as a checkout is\n")
    listed(tmp_path)
    assert len(told.read_text().split()) == len(first)
    told.unlink()
    (tmp_path / "packages" / "harmless-1.dist-info").rename(tmp_path / "old")
    install(tmp_path / "packages", "harmless", source, "2")
    listed(tmp_path)
    assert len(told.read_text().split()) == len(first)


def test_one_that_ends_the_process_is_told_by_a_check(tmp_path: Path) -> None:
    (tmp_path / "fatal.py").write_text("import os; os._exit(0)\n")
    command = (sys.executable, "-c", children.PROGRAM, "--json", "plugin", "check", "fatal=fatal")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (check,) = json.loads(done.stdout)
    assert check["problem"] == "importing it ends the process (exit code 0)"
