"""Shared by all areas: the conformance kit, as any plugin author gets it, no unforeseen warnings, Node.js packages, and
processes that are started and killed by the hundred."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from npm import NotInstalled, installed_packages

pytest_plugins = ["mosaicfs_core.testing"]

# A package of its own, whose tests run where it is installed (plugins_host/test_third_party.py).
collect_ignore = ["third_party_example"]


@pytest.fixture(autouse=True)
def _no_surprises(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail on a log record of level WARNING or above that the test did not announce with ``@pytest.mark.logs(REGEX)``:
    an error that was swallowed and logged must not hide in a test that passes."""
    yield
    expected = [re.compile(pattern) for marker in request.node.iter_markers("logs") for pattern in marker.args]
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    surprises = [
        f"{record.name}: {record.getMessage()}"
        for record in records
        if record.levelno >= logging.WARNING and not any(pattern.search(record.getMessage()) for pattern in expected)
    ]
    if surprises:
        pytest.fail("logged and not expected:\n" + "\n".join(surprises), pytrace=False)


@pytest.fixture(scope="session")
def node_packages() -> Callable[[Path], Path]:
    """``npm.installed_packages``: give it a folder with a ``package.json``; what cannot be installed skips the test."""

    def installed(folder: Path) -> Path:
        try:
            return installed_packages(folder)
        except NotInstalled as error:
            pytest.skip(str(error))

    return installed


class ForkServer:
    """Starts a program's ``main`` in forked processes, one at a time (see ``fork_server.py``)."""

    def __init__(self, program: Path) -> None:
        command = [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(program)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, *arguments: str | int) -> None:
        """Start ``main(*arguments)``. What was started before must have been killed."""
        self._ask(json.dumps(arguments))

    def line(self) -> str:
        """The next line that the child prints; "" when it came to its end instead."""
        text = self._read()
        return "" if text == "over" else text

    def kill(self) -> list[str]:
        """Kill the child, wherever it is; the lines that it printed and nobody had read."""
        self._ask("null")
        lines: list[str] = []
        while (line := self._read()) != "dead":
            lines.append(line)
        return [line for line in lines if line != "over"]

    def close(self) -> None:
        """End the server and what it started."""
        self.process.kill()
        self.process.communicate()

    def _ask(self, wish: str) -> None:
        assert self.process.stdin is not None
        print(wish, file=self.process.stdin, flush=True)

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the fork server ended with {self.process.wait()}"
        return line.rstrip("\n")


@pytest.fixture
def fork_server() -> Iterator[Callable[[Path], ForkServer]]:
    """``fork_server(program)``: a ``ForkServer``, closed at the end."""
    with ExitStack() as stack:

        def start(program: Path) -> ForkServer:
            server = ForkServer(program)
            stack.callback(server.close)
            return server

        yield start
