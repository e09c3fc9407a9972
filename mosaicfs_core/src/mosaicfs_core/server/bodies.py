"""JSON bodies are taken as the description says, type by type: ``0`` is no boolean, and ``"5"`` no number.

Quart-Schema converts bodies as leniently as query strings, where everything is text. A caller who sends ``"false"``
where a boolean belongs is mistaken, and had better be told. Nesting is bounded, since what walks through a value later
(settings, steps, schemas) goes as deep as the value does.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from quart import Quart, current_app, request
from quart_schema import RequestSchemaValidationError
from quart_schema.validation import QUART_SCHEMA_REQUEST_ATTRIBUTE

from mosaicfs_core.errors import UserError

MAX_DEPTH: Final = 64


def install(app: Quart) -> None:
    """Check the body of every request whose view names a model for it, before the view is called."""

    @app.before_request
    async def _as_described() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        model = getattr(view, QUART_SCHEMA_REQUEST_ATTRIBUTE, None)
        if model is None or request.method == "OPTIONS":
            return
        body = await request.get_json()
        try:
            msgspec.convert(body, model[0])
        except msgspec.ValidationError as error:
            raise RequestSchemaValidationError(error) from None
        refuse_deep(body)


def refuse_deep(body: Any) -> None:
    """Raise ``UserError`` naming the field of a body that nests more than ``MAX_DEPTH`` lists and objects."""
    fields = body.items() if isinstance(body, dict) else [("the body", body)]
    for field, value in fields:
        level = [value]
        for _ in range(MAX_DEPTH):
            level = [inner for outer in level for inner in _inside(outer)]
            if not level:
                break
        else:
            raise UserError(f"{field}: nested more than {MAX_DEPTH} deep", field=field)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
