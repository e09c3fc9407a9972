"""A server that takes and gives what Meilisearch's published OpenAPI description says, and nothing else.

The description is that of Meilisearch 1.15 as the package ``meilisearch-rest-cli`` ships it. It is generated from the
server's code and errs in three places, where the reference manual counts: the fields of a search are written there as
in the code (``crop_length`` for ``cropLength``), all of them as required, and one query parameter for CSV as well.
What a request has that is not described is refused, as the server does. Tasks are carried out one after the other, and
are seen to be under way once before they are done.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from aiohttp import web
from jsonschema import Draft202012Validator

SPEC: Final[dict[str, Any]] = json.loads((files("meilisearch_rest_cli") / "spec.yaml").read_text(encoding="utf-8"))
NOW: Final = "2026-02-16T09:22:00.000000Z"
_NOT_REALLY_REQUIRED: Final = frozenset({"csvDelimiter"})
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,511}").fullmatch


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _mended() -> dict[str, Any]:
    schemas = copy.deepcopy(SPEC["components"]["schemas"])
    search = schemas["SearchQuery"]
    search["properties"] = {_camel(name): part for name, part in search["properties"].items()}
    del search["required"]
    for name in ("SearchQuery", "Settings_Unchecked", "IndexCreateRequest", "DocumentDeletionByFilter"):
        schemas[name]["additionalProperties"] = False
    return {"schemas": schemas}


COMPONENTS: Final = _mended()


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with a body by a schema of the description."""
    return [error.message for error in Draft202012Validator({**schema, "components": COMPONENTS}).iter_errors(value)]


class Refused(Exception):
    """A request that the server would refuse."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class FakeMeilisearch:
    """``url`` once started. ``requests`` are what was asked, as ``METHOD /path``."""

    def __init__(self, key: str = "master") -> None:
        self.key = key
        self.url = ""
        self.requests: list[str] = []
        self.indexes: dict[str, dict[str, Any]] = {}
        self.failing: Callable[[dict[str, Any]], str | None] = lambda document: None
        self.answer_instead: web.Response | None = None
        self._tasks: list[dict[str, Any]] = []
        self._work: list[Callable[[], None]] = []
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen on loopback."""
        app = web.Application(client_max_size=100 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Listen no more; what is in it stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def documents(self, index: str = "mosaicfs") -> dict[str, dict[str, Any]]:
        """The documents of an index by key."""
        found: dict[str, dict[str, Any]] = self.indexes[index]["documents"]
        return found

    # -- requests --------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}")
        if self.answer_instead is not None:
            answer, self.answer_instead = self.answer_instead, None
            return answer
        try:
            template, values = self._template(request)
            operation = SPEC["paths"][template][request.method.lower()]
            self._authorize(request)
            body = await self._body(request, operation)
            status, answer_body = self._answer(request, template, values, body)
            success = min(code for code in operation["responses"] if code.startswith("2"))
            schema = operation["responses"][success]["content"]["application/json"]["schema"]
        except Refused as refused:
            status, schema = refused.status, {"$ref": "#/components/schemas/ResponseError"}
            answer_body = _told(refused.code, str(refused))
        wrong = problems(schema, answer_body)
        assert not wrong, f"the fake's own answer to {request.path}: {wrong}"
        return web.json_response(answer_body, status=status)

    def _template(self, request: web.Request) -> tuple[str, dict[str, str]]:
        for template, operations in SPEC["paths"].items():
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
            match = re.fullmatch(pattern, request.path)
            if match and request.method.lower() in operations:
                return template, match.groupdict()
        raise Refused(404, "not_found", f"no route {request.method} {request.path}")

    def _authorize(self, request: web.Request) -> None:
        given = request.headers.get("Authorization")
        if self.key and given is None:
            raise Refused(401, "missing_authorization_header", "The Authorization header is missing.")
        if self.key and given != f"Bearer {self.key}":
            raise Refused(403, "invalid_api_key", "The provided API key is invalid.")

    async def _body(self, request: web.Request, operation: Mapping[str, Any]) -> Any:
        known = {part["name"]: part for part in operation.get("parameters", []) if part["in"] == "query"}
        unknown = set(request.query) - set(known)
        missing = {name for name in known if known[name].get("required")} - set(request.query) - _NOT_REALLY_REQUIRED
        if unknown or missing:
            raise Refused(400, "bad_request", f"query parameters: unknown {unknown}, missing {missing}")
        if "requestBody" not in operation:
            return None
        if request.content_type != "application/json":
            raise Refused(415, "invalid_content_type", f"content type {request.content_type}")
        try:
            body = json.loads(await request.text())
        except ValueError:
            raise Refused(400, "malformed_payload", "The json payload provided is malformed.") from None
        schema = operation["requestBody"]["content"]["application/json"].get("schema", {})
        wrong = problems(schema, body)
        if wrong:
            raise Refused(400, "bad_request", "; ".join(wrong))
        return body

    # -- routes ----------------------------------------------------------------------------------------------------

    def _answer(self, request: web.Request, template: str, values: Mapping[str, str], body: Any) -> tuple[int, Any]:
        match request.method, template:
            case "POST", "/indexes":
                return 202, self._enqueue("indexCreation", body["uid"], lambda task: self._create(task, body))
            case "GET", "/tasks/{taskUid}":
                return 200, self._task(int(values["taskUid"]))
        uid = values["indexUid"]
        match request.method, template:
            case "PATCH", "/indexes/{indexUid}/settings":
                return 202, self._enqueue("settingsUpdate", uid, lambda _: self._index(uid)["settings"].update(body))
            case "POST", "/indexes/{indexUid}/documents":
                assert isinstance(body, list)
                work = lambda task: self._add(task, uid, body, request.query.get("primaryKey"))  # noqa: E731
                return 202, self._enqueue("documentAdditionOrUpdate", uid, work)
            case "POST", "/indexes/{indexUid}/documents/delete":
                chosen = self._filter(uid, body["filter"])
                return 202, self._enqueue("documentDeletion", uid, lambda _: self._remove(uid, chosen))
            case "POST", "/indexes/{indexUid}/search":
                return 200, self._search(uid, body)
            case "GET", "/indexes/{indexUid}/stats":
                return 200, self._stats(uid)
        raise Refused(404, "not_found", f"the fake does not do {request.method} {template}")

    def _enqueue(self, kind: str, uid: str, work: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        task: dict[str, Any] = {
            "uid": len(self._tasks),
            "indexUid": uid,
            "status": "enqueued",
            "type": kind,
            "enqueuedAt": NOW,
        }
        self._tasks.append(task)

        def run() -> None:
            task["status"] = "succeeded"
            work(task)

        self._work.append(run)
        return {"taskUid": task["uid"], **{key: task[key] for key in ("indexUid", "status", "type", "enqueuedAt")}}

    def _task(self, uid: int) -> dict[str, Any]:
        if uid >= len(self._tasks):
            raise Refused(404, "task_not_found", f"Task `{uid}` not found.")
        task = self._tasks[uid]
        if task["status"] == "enqueued":
            task["status"] = "processing"
        elif task["status"] == "processing":
            while task["status"] == "processing":
                self._work.pop(0)()
        return task

    def _create(self, task: dict[str, Any], body: Mapping[str, Any]) -> None:
        if body["uid"] in self.indexes:
            task["status"] = "failed"
            task["error"] = _told("index_already_exists", f"Index `{body['uid']}` already exists.")
            return
        self.indexes[body["uid"]] = {"key": body.get("primaryKey"), "documents": {}, "settings": {}}

    def _add(self, task: dict[str, Any], uid: str, documents: list[dict[str, Any]], key: str | None) -> None:
        index = self._index(uid)
        name = index["key"] or key
        for document in documents:
            problem = self.failing(document)
            if problem is None and not _KEY(str(document.get(name))):
                problem = f"Document identifier `{document.get(name)}` is invalid."
            if problem is not None:
                task["status"], task["error"] = "failed", _told("invalid_document_id", problem)
                return
        index["documents"].update({document[name]: document for document in documents})

    def _remove(self, uid: str, chosen: Callable[[Mapping[str, Any]], bool]) -> None:
        documents = self.documents(uid)
        for key in [key for key, document in documents.items() if chosen(document)]:
            del documents[key]

    def _filter(self, uid: str, condition: Any) -> Callable[[Mapping[str, Any]], bool]:
        parts = []
        for part in str(condition).split(" AND "):
            one = re.fullmatch(r'(\w+) = ("[^"]*"|[\w-]+)', part)
            some = re.fullmatch(r"(\w+) IN \[((?:[\w-]+(?:, )?)*)\]", part)
            match = one or some
            if match is None:
                raise Refused(400, "invalid_search_filter", f"the filter {part!r} cannot be read")
            if match[1] not in self._index(uid)["settings"].get("filterableAttributes", []):
                raise Refused(400, "invalid_search_filter", f"Attribute `{match[1]}` is not filterable.")
            wanted = {match[2].strip('"')} if one else set(match[2].split(", "))
            parts.append((match[1], wanted))
        return lambda document: all(str(document.get(name)) in wanted for name, wanted in parts)

    def _search(self, uid: str, body: Mapping[str, Any]) -> dict[str, Any]:
        index = self._index(uid)
        chosen = self._filter(uid, body["filter"]) if "filter" in body else lambda document: True
        words = re.findall(r"\w+", (body.get("q") or "").lower())
        hits = [self._hit(one, words, body, index) for one in index["documents"].values() if chosen(one)]
        found = [hit for hit in hits if hit is not None][: body.get("limit", 20)]
        return {
            "hits": found,
            "query": body.get("q") or "",
            "processingTimeMs": 0,
            "limit": body.get("limit", 20),
            "offset": 0,
            "estimatedTotalHits": len(found),
        }

    def _hit(
        self, document: Mapping[str, Any], words: list[str], body: Mapping[str, Any], index: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        names = index["settings"].get("searchableAttributes", list(document))
        text = " ".join(str(document.get(name, "")) for name in names).lower()
        if not all(word in text for word in words):
            return None
        hit = {name: document[name] for name in body.get("attributesToRetrieve", document) if name in document}
        formatted = dict(hit)
        for name in body.get("attributesToHighlight", []):
            if name in document:
                mark = re.compile("|".join(map(re.escape, words)) or "$^", re.IGNORECASE)
                marked = lambda match: body["highlightPreTag"] + match[0] + body["highlightPostTag"]  # noqa: E731
                cropped = " ".join(str(document[name]).split(" ")[: body.get("cropLength", 10)])
                formatted[name] = mark.sub(marked, cropped)
        if "attributesToHighlight" in body:
            hit["_formatted"] = formatted
        if body.get("showRankingScore"):
            hit["_rankingScore"] = 0.9
        return hit

    def _stats(self, uid: str) -> dict[str, Any]:
        documents = self._index(uid)["documents"].values()
        fields: dict[str, int] = {}
        for document in documents:
            for name in document:
                fields[name] = fields.get(name, 0) + 1
        size = sum(len(json.dumps(document)) for document in documents)
        return {
            "numberOfDocuments": len(documents),
            "rawDocumentDbSize": size,
            "avgDocumentSize": size // max(1, len(documents)),
            "isIndexing": False,
            "fieldDistribution": fields,
        }

    def _index(self, uid: str) -> dict[str, Any]:
        if uid not in self.indexes:
            raise Refused(404, "index_not_found", f"Index `{uid}` not found.")
        return self.indexes[uid]


def _told(code: str, message: str) -> dict[str, Any]:
    kind = "auth" if "authorization" in code or "api_key" in code else "invalid_request"
    return {"message": message, "code": code, "type": kind, "link": f"https://docs.meilisearch.com/errors#{code}"}
