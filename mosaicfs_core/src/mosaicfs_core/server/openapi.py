"""The OpenAPI 3.1 description, made from the routes: Quart-Schema's, with what it leaves out.

Every operation gets its error answers, a unique id, and says whether it needs a key; schemas that routes share stand
once under ``components``.
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

PATH: Final = "/api/openapi.json"
_REFERENCE: Final = "#/components/schemas/{name}"
_WRITES: Final = frozenset({"post", "put", "patch", "delete"})

_DESCRIPTION: Final = """\
Everything a client can do with MosaicFS. Times are ISO 8601 UTC with six fractional digits, sizes are bytes, the id of
a file is its node's and a UUID (`laptop-k3v9.5c1e…`). Lists take `limit` (at most 500) and `offset`. Documents have an
`ETag`; a write with a stale `If-Match` answers 412 and changes nothing. Every error answer has the same shape:
`{"error": {"code", "message", "details"?}}`.
"""

_ERRORS: Final = {
    "400": "The request is wrong; `details.field` names the place.",
    "401": "No key, or one that does not hold.",
    "403": "This caller may not do this.",
    "404": "There is no such thing.",
    "405": "Not with this method.",
    "409": "It exists already, or its state does not permit this.",
    "412": "It was changed since you read it (`If-Match`).",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too many attempts, or too many signatures that did not hold; `Retry-After` says when to come again.",
    "500": "Something went wrong inside the server.",
    "503": "Cannot be done at present; `Retry-After` may say when.",
}

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
                operation["responses"] = {
                    **({str(code): answer for code, answer in operation["responses"].items()} or _plain_success()),
                    **{code: _error(text) for code, text in _error_answers(method, path, operation, public)},
                }
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
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": {}}}}}


def _error(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
    }


def _error_answers(method: str, path: str, operation: dict[str, Any], public: bool) -> Iterable[tuple[str, str]]:
    codes = {"400", "405", "500", "503"}
    if not public:
        codes |= {"401", "403"}
    if "{" in path:
        codes.add("404")
    if method in _WRITES:
        codes |= {"404", "409", "412", "413", "415"}
    if path.startswith("/api/auth/"):
        codes |= {"401", "403", "429"}
    return ((code, _ERRORS[code]) for code in sorted(codes - set(operation["responses"])))
