"""The OpenAPI 3.1 description, made from the routes: Quart-Schema's, with what it leaves out.

Every operation gets its error answers, a unique id, and says whether it needs a key; schemas that routes share stand
once under ``components``. What OpenAPI has no words for, ``UNDESCRIBED`` names with the reason.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

import msgspec
from quart import Quart
from quart_schema import APIKeySecurityScheme, HttpSecurityScheme, Info, QuartSchema, Tag
from quart_schema.openapi import OpenAPIProvider
from quart_schema.validation import (
    QUART_SCHEMA_REQUEST_ATTRIBUTE,
    QUART_SCHEMA_RESPONSE_ATTRIBUTE,
    DataSource,
)
from werkzeug.routing.rules import Rule

from mosaicfs_core.server.auth.guard import API_PREFIX, PUBLIC
from mosaicfs_core.server.errors import ErrorAnswer
from mosaicfs_core.server.idempotency import KEY_HEADER, MAX_KEY
from mosaicfs_core.server.security import RAW_BODIES

PATH: Final = "/api/openapi.json"
_REFERENCE: Final = "#/components/schemas/{name}"
_WRITES: Final = frozenset({"post", "put", "patch", "delete"})
_NAMING: Final = frozenset({"export_path", "file_id", "path"})
"""Parameters of a query that name one thing, which may not be there."""

BYTES: Final = frozenset({"files.content", "transfer.transfer"})
"""Views that answer with a file's bytes, as ``streaming.content_answer`` does."""

UNDESCRIBED: Final = {
    "/db": "CouchDB's replication protocol, which has a description, clients and errors of its own",
    "/api/agent/link": "a WebSocket, which OpenAPI has no words for",
    "/api/docs": "a page",
    "/api/openapi.json": "the description itself",
    "/static/<name>": "scripts and styles of the pages",
    "/": "a page",
}
"""What is answered and not described, and why; ``/db`` with all that is beneath."""

_MORE: Final[dict[str, frozenset[str]]] = {
    "files.content": frozenset({"206", "412", "416"}),
    "transfer.transfer": frozenset({"206", "412", "416"}),
    "transfer.digest": frozenset({"412"}),
}
"""Answers of single views that do not follow from their method, path and parameters."""

_DESCRIPTION: Final = """\
Everything a client can do with MosaicFS. Times are ISO 8601 UTC with six fractional digits, sizes are bytes, the id of
a file is its node's and a UUID (`laptop-k3v9.5c1e…`). Lists take `limit` (at most 500) and `offset`. Documents have an
`ETag`; a write with a stale `If-Match` answers 412 and changes nothing. Every error answer has the same shape:
`{"error": {"code", "message", "details"?}}`. Not described here: `/db/mosaicfs`, which speaks CouchDB's replication
protocol, and `/api/agent/link`, the WebSocket of agents.
"""

_ANSWERS: Final = {
    "206": "The part that `Range` asked for, or several.",
    "304": "You have this version already (`If-None-Match`).",
    "400": "The request is wrong; `details.field` names the place.",
    "401": "No key, or one that does not hold.",
    "403": "This caller may not do this.",
    "404": "There is no such thing.",
    "405": "Not with this method.",
    "408": "The body took too long to arrive.",
    "409": "It exists already, or its state does not permit this.",
    "412": "It was changed since you read it (`If-Match`).",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "416": "The range lies outside of the file; `Content-Range` tells its size.",
    "429": "Too many attempts, or too many signatures that did not hold; `Retry-After` says when to come again.",
    "431": "The head of the request is too large: address and headers together may have 64 KiB.",
    "500": "Something went wrong inside the server.",
    "502": "A plugin failed at it.",
    "503": "Cannot be done at present, a machine that it takes is away perhaps; `Retry-After` may say when.",
}
_WITHOUT_BODY: Final = frozenset({"304", "431"})

_REPEATABLE: Final = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "Repeated with the same key within ten minutes, the request is answered as before and done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}


class Provider(OpenAPIProvider):
    """Quart-Schema's description completed."""

    _references: Mapping[Any, dict[str, Any]] = {}

    def generate_rules(self) -> Iterable[Rule]:
        """Only the API: not the pages."""
        return sorted(
            (rule for rule in super().generate_rules() if rule.rule.startswith(API_PREFIX + "/")),
            key=lambda rule: (rule.rule, sorted(rule.methods or ())),
        )

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        """Unique by construction, whatever plugins call their views: ``get_nodes_node_id``."""
        words = re.sub(r"[^a-z0-9]+", "_", path.removeprefix(API_PREFIX).lower()).strip("_")
        return f"{method.lower()}_{words}"

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The operations of a rule with all their answers."""
        paths, components = super().build_paths(rule)
        public = rule.endpoint in PUBLIC
        for path, operations in paths.items():
            for method, operation in operations.items():
                success = _bytes("The file's bytes.") if rule.endpoint in BYTES else _plain_success()
                known = {str(code): answer for code, answer in operation["responses"].items()} or {"200": success}
                more = _codes(method, path, operation, public) | _MORE.get(rule.endpoint, frozenset())
                operation["responses"] = {**known, **{code: _answer(code) for code in sorted(more - set(known))}}
                if rule.endpoint in RAW_BODIES:
                    operation["requestBody"] = {"content": {"application/octet-stream": {"schema": {}}}}
                operation["security"] = [] if public else [{"bearer": []}]
                operation.setdefault("tags", [_tag(path)])
                if method == "post" and not public:
                    operation["parameters"] = [*operation.get("parameters", ()), _REPEATABLE]
        return paths, components

    def build_request_body(self, model: Any, source: DataSource) -> tuple[dict[str, Any], dict[str, Any]]:
        """A JSON body by reference."""
        return {"required": True, "content": {"application/json": {"schema": self._references[model]}}}, {}

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A JSON answer by reference, described by the model's docstring."""
        meaning = (inspect.getdoc(model) or "Done.").partition("\n\n")[0].replace("\n", " ")
        return {"description": meaning, "content": {"application/json": {"schema": self._references[model]}}}, {}

    def schema(self) -> dict[str, Any]:
        """The whole description.

        All models are described in one go: then two of one name in two plugins get two names, and what is inside of a
        model is described too.
        """
        models = list(dict.fromkeys([ErrorAnswer, *self._models()]))
        schemas, components = msgspec.json.schema_components(models, ref_template=_REFERENCE)
        self._references = dict(zip(models, schemas, strict=True))
        whole = super().schema()
        whole["components"]["schemas"].update(components)
        whole["paths"] = dict(sorted(whole["paths"].items()))
        return whole

    def _models(self) -> Iterable[Any]:
        """Every model of a body that a route names."""
        for rule in self.generate_rules():
            view = self._app.view_functions[rule.endpoint]
            request_model = getattr(view, QUART_SCHEMA_REQUEST_ATTRIBUTE, None)
            if request_model is not None:
                yield request_model[0]
            for model, _ in getattr(view, QUART_SCHEMA_RESPONSE_ATTRIBUTE, {}).values():
                yield model


def install(app: Quart) -> None:
    """Serve the description at ``PATH``; the page that shows it is ours (``routes.pages``)."""
    QuartSchema(
        app,
        openapi_path=PATH,
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        info=Info(title="MosaicFS", version=version("mosaicfs-core"), description=_DESCRIPTION),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        security_schemes={
            "bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT"),
            "refresh": APIKeySecurityScheme(name="mosaicfs_refresh", in_="cookie"),
        },
        security=[{"bearer": []}],
        conversion_preference="msgspec",
        openapi_provider_class=Provider,
    )


_TAGS: Final = {
    "auth": "Signing in and out",
    "nodes": "Machines and accounts",
    "files": "Indexed files and their content",
    "vfs": "The virtual tree",
    "search": "Finding files by name and facts",
    "labels": "Labels and label rules",
    "plugins": "What is installed",
    "credentials": "Access keys",
    "system": "Health and facts of the instance",
}


def _tag(path: str) -> str:
    return path.removeprefix(API_PREFIX + "/").partition("/")[0] or "system"


def _plain_success() -> dict[str, Any]:
    return {"description": "Done.", "content": {"application/json": {"schema": {}}}}


def _bytes(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"*/*": {"schema": {}}}}


def _answer(code: str) -> dict[str, Any]:
    """An answer that is the same wherever it occurs."""
    text = _ANSWERS[code]
    if code in _WITHOUT_BODY:
        return {"description": text}
    if code == "206":
        return _bytes(text)
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
    }


def _codes(method: str, path: str, operation: dict[str, Any], public: bool) -> set[str]:
    """The answers beside success that an operation may give."""
    codes = {"400", "405", "431", "500", "503"}
    if not public:
        codes |= {"401", "403", "429", "502"}
    names_one = "{" in path or any(given["name"] in _NAMING for given in operation.get("parameters", ()))
    if names_one:
        codes.add("404")
    if names_one and method == "get":
        codes.add("304")
    if method in _WRITES:
        codes |= {"404", "408", "409", "412", "413", "415"}
    if path.startswith("/api/auth/"):
        codes |= {"401", "403", "429"}
    return codes
