"""Hosts in network namespaces; the tests here are skipped where a machine does not allow them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from network_bed import Network, available, has_netem


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """An empty network."""
    if not available():
        pytest.skip("network namespaces need root and iproute2")
    made = Network(tmp_path)
    yield made
    made.close()


@pytest.fixture
def netem() -> bool:
    """For what needs packets delayed or lost by the kernel."""
    if not has_netem():
        pytest.skip("delay and loss on the wire need a kernel with netem (the module sch_netem)")
    return True
