"""Clocks that are wrong: three minutes are worked with, ten are refused by an error that says which clock it is."""

from __future__ import annotations

from typing import Any

import pytest
from machines import Machine, eventually
from network_bed import FAKETIME

pytestmark = pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")


@pytest.mark.timeout(300)
def test_ten_minutes_are_refused_and_three_are_worked_with(network: Any) -> None:
    nas, laptop = Machine(network.host("nas")), Machine(network.host("laptop"))
    (laptop.tree / "essay.txt").write_text("an essay")
    url = nas.serve()
    refused = laptop.enrol(nas, url, code=4, clock="+10m")["error"]
    assert refused["code"] == "clock_skew"
    assert "10 min" in refused["message"] or "600 s" in refused["message"], refused
    laptop.enrol(nas, url, clock="+3m")
    laptop.start("agent", "run", str(laptop.tree), clock="+3m")
    eventually(lambda: nas.names() == {"essay.txt"})
    assert "clock" in (nas.home / "logs" / "mosaicfs.log").read_text()
