"""Two machines that cannot reach each other, as behind NAT, read each other's files through the control plane."""

from __future__ import annotations

import random
from typing import Any

import pytest
from machines import Machine, eventually


@pytest.mark.timeout(300)
def test_a_machine_that_nobody_can_reach_serves_through_the_control_plane(network: Any) -> None:
    nas, laptop, desktop = (Machine(network.host(name)) for name in ("nas", "laptop", "desktop"))
    laptop.host.isolate()
    desktop.host.isolate()
    content = random.Random(3).randbytes(5 << 20)
    (laptop.tree / "behind-nat.bin").write_bytes(content)
    url = nas.serve()
    for machine in (laptop, desktop):
        machine.enrol(nas, url)
        machine.start("agent", "run", str(machine.tree))
    found = eventually(lambda: desktop.run("files", "search", "behind-nat*")["items"])
    for machine in (desktop, nas):
        target = machine.host.directory / "fetched"
        machine.run("files", "fetch", found[0]["id"], "-o", str(target))
        assert target.read_bytes() == content
