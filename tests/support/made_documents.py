"""Documents made in code, small and real: PDF, Office, OpenDocument, EPUB, mail; and such as should not be opened."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Final
from xml.sax.saxutils import escape

_PAD: Final = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def pdf(pages: Sequence[str], title: str = "", password: str = "") -> bytes:
    """A PDF with a line of text (Latin-1) on each page; with a password it opens with nothing else (RC4, 40 bits)."""
    file_id = hashlib.md5(repr((pages, title)).encode()).digest()
    key, encryption = _encryption(password, file_id) if password else (None, b"")
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    bodies: dict[int, bytes] = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    }
    for number, text in enumerate(pages):
        page, content = 4 + 2 * number, 5 + 2 * number
        bodies[page] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        ).encode()
        lines = b" ".join(b"<%s> Tj T*" % line.encode("cp1252").hex().encode() for line in text.split("\n"))
        stream = zlib.compress(b"BT /F1 12 Tf 14 TL 40 740 Td " + lines + b" ET")
        stream = stream if key is None else _rc4(_object_key(key, content), stream)
        bodies[content] = b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)
    extra = b""
    if title:
        number = max(bodies) + 1
        text = title.encode("cp1252")
        text = text if key is None else _rc4(_object_key(key, number), text)
        bodies[number] = b"<< /Title <" + text.hex().encode() + b"> >>"
        extra += b" /Info %d 0 R" % number
    if key is not None:
        bodies[max(bodies) + 1] = encryption
        extra += b" /Encrypt %d 0 R" % max(bodies)
    extra += b" /ID [<%s> <%s>]" % (file_id.hex().encode(), file_id.hex().encode())
    return _assembled(bodies, extra)


def _assembled(bodies: Mapping[int, bytes], extra: bytes) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number in sorted(bodies):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, bodies[number])
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, extra, start)
    return bytes(out)


def _encryption(password: str, file_id: bytes) -> tuple[bytes, bytes]:
    """The key and the encryption dictionary of the standard security handler, revision 2."""
    padded = (password.encode("cp1252") + _PAD)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    rights = -4
    key = hashlib.md5(padded + owner + (rights & 0xFFFFFFFF).to_bytes(4, "little") + file_id).digest()[:5]
    user = _rc4(key, _PAD)
    words = f"/O <{owner.hex()}> /U <{user.hex()}> /P {rights}"
    return key, f"<< /Filter /Standard /V 1 /R 2 /Length 40 {words} >>".encode()


def _object_key(key: bytes, number: int) -> bytes:
    return hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10]


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """A zip file; a member ``mimetype`` is stored as it is, as OpenDocument and EPUB want it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED)
    return out.getvalue()


_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"


def _office(main: str, content_type: str, members: Mapping[str, str | bytes]) -> bytes:
    types = (
        f'<?xml version="1.0"?><Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{main}" ContentType="application/vnd.openxmlformats-officedocument.{content_type}+xml"/>'
        "</Types>"
    )
    return zipped({"[Content_Types].xml": types, "_rels/.rels": _relations({"officeDocument": main}), **members})


def _relations(targets: Mapping[str, str]) -> str:
    found = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATIONS}/{kind.partition("#")[0]}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets.items(), 1)
    )
    return f'<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships">{found}</Relationships>'


def docx(*paragraphs: str) -> bytes:
    """A Word document."""
    name = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    text = "".join(f"<w:p><w:r><w:t>{escape(one)}</w:t></w:r></w:p>" for one in paragraphs)
    body = f'<?xml version="1.0"?><w:document xmlns:w="{name}"><w:body>{text}</w:body></w:document>'
    return _office("word/document.xml", "wordprocessingml.document.main", {"word/document.xml": body})


def xlsx(*cells: str) -> bytes:
    """A workbook with a column of texts."""
    name = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rows = "".join(
        f'<row r="{row}"><c r="A{row}" t="inlineStr"><is><t>{escape(cell)}</t></is></c></row>'
        for row, cell in enumerate(cells, 1)
    )
    book = (
        f'<?xml version="1.0"?><workbook xmlns="{name}" xmlns:r="{_RELATIONS}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>'
    )
    sheet = f'<?xml version="1.0"?><worksheet xmlns="{name}"><sheetData>{rows}</sheetData></worksheet>'
    members = {
        "xl/workbook.xml": book,
        "xl/_rels/workbook.xml.rels": _relations({"worksheet": "worksheets/sheet1.xml"}),
        "xl/worksheets/sheet1.xml": sheet,
    }
    return _office("xl/workbook.xml", "spreadsheetml.sheet.main", members)


def pptx(*slides: str) -> bytes:
    """A presentation with a text on each slide."""
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    name = "http://schemas.openxmlformats.org/presentationml/2006/main"
    ids = "".join(f'<p:sldId id="{255 + number}" r:id="rId{number}"/>' for number in range(1, len(slides) + 1))
    members: dict[str, str | bytes] = {
        "ppt/presentation.xml": (
            f'<?xml version="1.0"?><p:presentation xmlns:p="{name}" xmlns:r="{_RELATIONS}">'
            f"<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>"
        ),
        "ppt/_rels/presentation.xml.rels": _relations(
            {f"slide#{number}": f"slides/slide{number}.xml" for number in range(1, len(slides) + 1)}
        ),
    }
    for number, text in enumerate(slides, 1):
        members[f"ppt/slides/slide{number}.xml"] = (
            f'<?xml version="1.0"?><p:sld xmlns:p="{name}" xmlns:a="{drawing}"><p:cSld><p:spTree><p:sp><p:txBody>'
            f"<a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
        )
    return _office("ppt/presentation.xml", "presentationml.presentation.main", members)


_OPEN: Final = "urn:oasis:names:tc:opendocument:xmlns"


def opendocument(kind: str, *paragraphs: str) -> bytes:
    """An OpenDocument file: ``text``, ``spreadsheet`` or ``presentation``."""
    text = "".join(f"<text:p>{escape(one)}</text:p>" for one in paragraphs)
    if kind == "spreadsheet":
        rows = "".join(
            f'<table:table-row><table:table-cell office:value-type="string"><text:p>{escape(one)}</text:p>'
            "</table:table-cell></table:table-row>"
            for one in paragraphs
        )
        text = f'<table:table table:name="Sheet1">{rows}</table:table>'
    elif kind == "presentation":
        text = f'<draw:page draw:name="p"><draw:frame><draw:text-box>{text}</draw:text-box></draw:frame></draw:page>'
    content = (
        f'<?xml version="1.0"?><office:document-content office:version="1.2" xmlns:office="{_OPEN}:office:1.0"'
        f' xmlns:text="{_OPEN}:text:1.0" xmlns:table="{_OPEN}:table:1.0" xmlns:draw="{_OPEN}:drawing:1.0">'
        f"<office:body><office:{kind}>{text}</office:{kind}></office:body></office:document-content>"
    )
    mime_type = f"application/vnd.oasis.opendocument.{kind}"
    manifest = (
        f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="{_OPEN}:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{mime_type}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>'
    )
    return zipped({"mimetype": mime_type, "content.xml": content, "META-INF/manifest.xml": manifest})


def epub(title: str, *chapters: str) -> bytes:
    """A book."""
    items = "".join(
        f'<item id="c{number}" href="c{number}.xhtml" media-type="application/xhtml+xml"/>'
        for number in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": (
            '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
            '<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
            "</container>"
        ),
        "book.opf": (
            '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
            f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
        ),
    }
    for number, text in enumerate(chapters):
        members[f"c{number}.xhtml"] = (
            f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{escape(text)}</p></body></html>'
        )
    return zipped(members)


def mail(subject: str, text: str, charset: str = "utf-8") -> bytes:
    """A mail."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ada@example.org", "grace@example.org", subject
    message.set_content(text, charset=charset)
    return message.as_bytes()


def bomb(size: int) -> bytes:
    """A Word document whose text unpacks to so many bytes."""
    with zipfile.ZipFile(io.BytesIO(docx("@@"))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["word/document.xml"] = members["word/document.xml"].replace(b"@@", b"a" * size)
    return zipped(members)
