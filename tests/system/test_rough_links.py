"""A link that is slow and loses packets: machines still come to know the same, and bytes arrive whole."""

from __future__ import annotations

import random
from typing import Any

import pytest
from machines import Machine, eventually

FILES = 300


@pytest.mark.timeout(300)
def test_replication_and_bytes_over_a_link_that_loses_packets(network: Any, netem: bool) -> None:
    nas, laptop = Machine(network.host("nas")), Machine(network.host("laptop"))
    content = random.Random(5).randbytes(2 << 20)
    (laptop.tree / "large.bin").write_bytes(content)
    for number in range(FILES):
        (laptop.tree / f"{number}.txt").write_text(str(number))
    url = nas.serve()
    laptop.host.disturb(delay_ms=40, loss_percent=3)
    laptop.enrol(nas, url)
    laptop.start("agent", "run", str(laptop.tree))
    eventually(lambda: len(nas.names()) == FILES + 1, 90)
    (found,) = nas.run("files", "search", "large.bin")["items"]
    target = nas.host.directory / "fetched"
    nas.run("files", "fetch", found["id"], "-o", str(target))
    assert target.read_bytes() == content
