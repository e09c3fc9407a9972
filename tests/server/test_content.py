"""A file's bytes over HTTP are slices of the file on disk, whatever is asked, and safe for a browser to show."""

from __future__ import annotations

import asyncio
import json
import os
import tracemalloc
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaicfs_core.content import LocalSource
from mosaicfs_core.server.ranges import ByteRange
from mosaicfs_core.server.streaming import CHUNK, Streams, _stream, content_disposition, content_type


def parts_of(answer_headers: Any, body: bytes) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer: their Content-Range and their bytes."""
    whole = b"Content-Type: " + answer_headers["Content-Type"].encode() + b"\r\n\r\n" + body
    boundary = answer_headers["Content-Type"].partition("boundary=")[2].encode()
    assert message_from_bytes(whole, policy=HTTP).is_multipart()
    found = []
    for part in body.split(b"\r\n--" + boundary)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().strip().splitlines())
        found.append((headers["Content-Range"], data))
    assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
    return found


@pytest.fixture
async def file(instance: Any, tmp_path: Path) -> tuple[str, bytes]:
    """An indexed file of 10,007 varied bytes: its id and content."""
    content = bytes((i * 31 + i // 251) % 256 for i in range(10_007))
    return await instance.add_file(tmp_path / "tree" / "data.bin", content, "application/pdf"), content


async def fetch(instance: Any, file_id: str, query: str = "", method: str = "GET", **headers: str) -> Any:
    return await instance.ask(method, f"/api/files/{file_id}/content{query}", headers=headers)


async def test_the_whole_file(instance: Any, file: tuple[str, bytes]) -> None:
    file_id, content = file
    answer = await fetch(instance, file_id)
    assert answer.status_code == 200
    assert await answer.get_data() == content
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="data.bin"')
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_a_head_tells_the_length_and_sends_nothing(served: Any) -> None:
    status, headers, body = served.get(served.file_id, {}, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(served.content)), b"")
    assert headers["ETag"]


specs = st.one_of(
    st.tuples(st.integers(0, 12_000), st.integers(0, 12_000)).map(lambda span: f"{min(span)}-{max(span)}"),
    st.integers(0, 12_000).map(lambda first: f"{first}-"),
    st.integers(0, 12_000).map(lambda last: f"-{last}"),
)


def expected_of(spec: str, content: bytes) -> bytes:
    """The slice a single range spec means, by Python's own slicing."""
    first, _, last = spec.partition("-")
    if not first:
        return content[len(content) - min(int(last), len(content)) :]
    return content[int(first) : int(last) + 1] if last else content[int(first) :]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(specs, min_size=1, max_size=5))
def test_ranges_are_slices_of_the_file(served: Any, wanted: list[str]) -> None:
    slices = [part for part in (expected_of(spec, served.content) for spec in wanted) if part]
    status, headers, body = served.get(served.file_id, {"Range": "bytes=" + ",".join(wanted)})
    if not slices:
        assert status == 416
        assert headers["Content-Range"] == f"bytes */{len(served.content)}"
        assert json.loads(body)["error"]["code"] == "range_not_satisfiable"
    elif sum(map(len, slices)) > len(served.content):
        assert (status, body) == (200, served.content)
    elif len(slices) == 1:
        assert (status, body) == (206, slices[0])
        start, stop = headers["Content-Range"].removeprefix("bytes ").partition("/")[0].split("-")
        assert served.content[int(start) : int(stop) + 1] == slices[0]
    else:
        assert status == 206
        assert [data for _, data in parts_of(headers, body)] == slices
        for place, data in parts_of(headers, body):
            start, stop = place.removeprefix("bytes ").partition("/")[0].split("-")
            assert served.content[int(start) : int(stop) + 1] == data


async def test_conditions(instance: Any, file: tuple[str, bytes]) -> None:
    file_id, content = file
    whole = await fetch(instance, file_id)
    etag, changed = whole.headers["ETag"], whole.headers["Last-Modified"]
    early, late = "Thu, 01 Jan 1970 00:00:01 GMT", "Fri, 31 Dec 2100 00:00:00 GMT"
    part = {"Range": "bytes=0-9"}
    cases = [
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": late}, 200),
        ({"If-Modified-Since": changed}, 304),
        ({"If-Modified-Since": early}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Match": etag}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Unmodified-Since": early}, 412),
        ({**part, "If-Range": etag}, 206),
        ({**part, "If-Range": f"W/{etag}"}, 200),
        ({**part, "If-Range": '"other"'}, 200),
        ({**part, "If-Range": changed}, 206),
        ({**part, "If-Range": early}, 200),
    ]
    for headers, status in cases:
        answer = await fetch(instance, file_id, **headers)
        assert answer.status_code == status, headers
        body = await answer.get_data()
        assert body == {200: content, 206: content[:10], 304: b""}.get(status, body)
        if status in (200, 206, 304):
            assert answer.headers["ETag"] == etag


@pytest.mark.parametrize(
    ("mime_type", "sent", "inline"),
    [
        ("image/png", "image/png", True),
        ("image/svg+xml", "image/svg+xml", True),
        ("video/mp4", "video/mp4", True),
        ("application/pdf", "application/pdf", True),
        ("text/html", "text/plain; charset=utf-8", True),
        ("application/xhtml+xml", "text/plain; charset=utf-8", True),
        ("application/javascript", "text/plain; charset=utf-8", True),
        ("application/zip", "application/zip", False),
        ("text/html\r\nX-Evil: 1", "application/octet-stream", False),
        ("", "application/octet-stream", False),
        (None, "application/octet-stream", False),
    ],
)
def test_what_a_browser_may_show(mime_type: str | None, sent: str, inline: bool) -> None:
    assert content_type(mime_type, True) == (sent, inline)
    assert content_type(mime_type, False)[1] is False


@given(st.text(min_size=1, max_size=255))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    if any(0xD800 <= ord(character) < 0xE000 for character in name):
        return
    header = content_disposition(name, inline=False)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


async def test_a_download_token_opens_its_file_and_nothing_else(
    instance: Any, file: tuple[str, bytes], tmp_path: Path
) -> None:
    file_id, content = file
    other = await instance.add_file(tmp_path / "tree" / "other.txt", b"other")
    link = json.loads(await (await instance.ask("POST", f"/api/files/{file_id}/download-token")).get_data())
    answer = await instance.ask("GET", link["url"], token=None)
    assert await answer.get_data() == content
    for path in (f"/api/files/{other}/content", f"/api/files/{file_id}", "/api/nodes"):
        assert (await instance.ask("GET", f"{path}?token={link['token']}", token=None)).status_code == 401


async def test_files_that_are_not_there_any_more(instance: Any, tmp_path: Path) -> None:
    gone = await instance.add_document(tmp_path / "tree" / "gone.txt", 5)
    answer = await fetch(instance, gone)
    assert answer.status_code == 404
    link = tmp_path / "tree" / "link.txt"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("/etc/passwd")
    assert (await fetch(instance, await instance.add_document(link, 5))).status_code == 403
    directory = tmp_path / "tree" / "folder"
    directory.mkdir()
    assert (await fetch(instance, await instance.add_document(directory, 5))).status_code == 404
    assert (await fetch(instance, "node-nobody-aaaa.5c1e0000-0000-0000-0000-000000000000")).status_code == 404


async def test_listing_files(instance: Any, tmp_path: Path) -> None:
    made = [await instance.add_file(tmp_path / "tree" / f"{i}.txt", b"x" * i, "text/plain") for i in range(5)]
    page = json.loads(await (await instance.ask("GET", "/api/files?limit=2")).get_data())
    assert (len(page["items"]), page["total"]) == (2, 5)
    seen = [item["id"] for item in page["items"]]
    while page.get("cursor"):
        page = json.loads(await (await instance.ask("GET", f"/api/files?limit=2&cursor={page['cursor']}")).get_data())
        seen += [item["id"] for item in page["items"]]
    assert sorted(seen) == sorted(made)
    one = json.loads(await (await instance.ask("GET", f"/api/files/{made[3]}")).get_data())
    assert (one["name"], one["size"], one["mime_type"]) == ("3.txt", 3, "text/plain")
    assert one["mtime"].endswith("Z")
    path = str(tmp_path / "tree" / "4.txt")
    found = json.loads(await (await instance.ask("GET", "/api/files", query_string={"export_path": path})).get_data())
    assert [item["id"] for item in found["items"]] == [made[4]]


async def test_a_stream_costs_no_memory_for_what_is_to_come(tmp_path: Path) -> None:
    """Of a size that only somebody says: what is read is read, and no list of the rest is made."""
    path = tmp_path / "small"
    path.write_bytes(bytes(2 * CHUNK))
    source, streams = LocalSource(os.open(path, os.O_RDONLY), "local"), Streams()
    stream = _stream(source, streams, [ByteRange(0, 2**53)], None)
    tracemalloc.start()
    assert len(await anext(stream)) == CHUNK
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await stream.aclose()
    streams.pool.shutdown(wait=True)
    assert peak < 4 * CHUNK


async def test_the_descriptor_outlives_a_reader_that_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(3 * CHUNK))
    source = LocalSource(os.open(path, os.O_RDONLY), "local")
    streams = Streams()
    stream = _stream(source, streams, [ByteRange(0, 3 * CHUNK)], None)
    await anext(stream)
    await stream.aclose()
    streams.pool.shutdown(wait=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(source.descriptor)


@pytest.mark.logs("it became shorter")
async def test_a_file_that_shrinks_meanwhile_is_cut_off_and_never_filled_up(tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(4 * CHUNK))
    source, streams = LocalSource(os.open(path, os.O_RDONLY), "local"), Streams()
    stream = _stream(source, streams, [ByteRange(0, 4 * CHUNK)], None)
    received = [await anext(stream)]
    os.truncate(path, CHUNK)

    async def rest() -> None:
        received.extend([chunk async for chunk in stream])

    with pytest.raises(asyncio.CancelledError):
        await rest()
    assert sum(map(len, received)) < 4 * CHUNK
    assert "became shorter" in caplog.text
    streams.pool.shutdown(wait=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(source.descriptor)


async def test_downloads_under_way_are_ended_on_request(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(3 * CHUNK))
    source, streams = LocalSource(os.open(path, os.O_RDONLY), "local"), Streams()
    begun = asyncio.Event()

    async def send() -> None:
        async for _ in _stream(source, streams, [ByteRange(0, 3 * CHUNK)], None):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(send())
    await begun.wait()
    streams.end()
    with pytest.raises(asyncio.CancelledError):
        await task
    streams.close()
