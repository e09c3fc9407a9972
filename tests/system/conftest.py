"""Hosts in network namespaces; the tests here are skipped where a machine does not allow them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from network_bed import Network, available


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """An empty network."""
    if not available():
        pytest.skip("network namespaces need root and iproute2")
    made = Network(tmp_path)
    yield made
    made.close()
