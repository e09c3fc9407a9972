"""Protects the page's data: PouchDB in a real browser, signed in with a real session, under our own content policy,
keeps a live copy of its flow and can write nothing."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.async_api")

CHROMIUM = shutil.which("chromium")
HERE = Path(__file__).parent / "peers"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.node,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

START = """async ({token}) => {
  const fetchWithKey = (url, options) => {
    options.headers.set("Authorization", "Bearer " + token);
    return PouchDB.fetch(url, options);
  };
  window.remote = new PouchDB(location.origin + "/db/mosaicfs", {fetch: fetchWithKey, skip_setup: true});
  window.copy = new PouchDB("copy");
  const first = await copy.replicate.from(remote);
  window.live = copy.replicate.from(remote, {live: true, retry: true});
  return first.ok;
}"""
IDS = "async () => (await copy.allDocs()).rows.map((row) => row.id)"
HAS = """async ({id, size}) => {
  const found = await copy.get(id).catch(() => null);
  return Boolean(found) && found.labels.length === size;
}"""
LACKS = "async (id) => (await copy.get(id).catch((error) => error)).reason === 'deleted'"
WRITE = "async (doc) => (await remote.put(doc).then(() => ({}), (error) => ({status: error.status, name: error.name})))"


@pytest.fixture
async def page(tmp_path: Path, couch: Any) -> AsyncIterator[Any]:
    """An empty page of the instance's own origin."""
    async with playwright.async_playwright() as engine:
        browser = await engine.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, headless=True, args=ARGUMENTS
        )
        opened = await browser.new_page()
        await opened.goto(couch.url + "/")
        yield opened
        await browser.close()


async def signed_in(couch: Any) -> str:
    """The token of a session that began with a key."""
    created = (await couch.ask("POST", "/api/credentials", json={"name": "page"})).json
    login = {"access_key_id": created["access_key_id"], "secret_key": created["secret_key"]}
    token: str = (await couch.ask("POST", "/api/auth/login", None, json=login)).json["access_token"]
    return token


async def test_a_page_keeps_a_live_copy(couch: Any, page: Any, node_packages: Callable[[Path], Path]) -> None:
    await couch.fill()
    await couch.store.bulk([couch.file(number) for number in range(10, 3_000)])
    script = node_packages(HERE) / "pouchdb" / "dist" / "pouchdb.min.js"
    await page.evaluate(script.read_text())
    assert await page.evaluate(START, {"token": await signed_in(couch)}) is True
    copied = set(await page.evaluate(IDS))
    shown = (await couch.get("/_changes", "user")).json["results"]
    assert copied == {row["id"] for row in shown if not row.get("deleted")}
    assert not [
        identifier for identifier in copied if identifier.startswith(("file::", "credential::", "annotation::"))
    ]
    plugin = await page.evaluate("async (id) => copy.get(id)", couch.documents(couch.node)["plugin"]["_id"])
    assert plugin["settings"] == {"password": {"set": True}, "port": 993}

    rule = couch.documents(couch.node)["label_rule"]
    await couch.store.update(rule["_id"], lambda known: {**(known or {}), "labels": ["red", "blue"]})
    await page.wait_for_function(HAS, arg={"id": rule["_id"], "size": 2}, timeout=20_000)
    stored = await couch.store.get(rule["_id"])
    await couch.store.put({"_id": rule["_id"], "_rev": stored["_rev"], "_deleted": True, "type": "label_rule"})
    await page.wait_for_function(LACKS, arg=rule["_id"], timeout=20_000)

    before = couch.store.seq
    refused = await page.evaluate(WRITE, {"_id": rule["_id"] + "x", "type": "label_rule"})
    assert refused == {"status": 403, "name": "forbidden"}
    assert couch.store.seq == before
