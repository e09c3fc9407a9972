"""``/api/search``."""

from __future__ import annotations

from quart import Blueprint, Response, request
from quart_schema import document_querystring, document_response

from mosaicfs_core.hooks import FilesAnswer, RoutesContext
from mosaicfs_plugins.answers import answer
from mosaicfs_plugins.search.query import SearchParameters, parse_query


def make_blueprint(context: RoutesContext) -> Blueprint:
    """The blueprint over a context."""
    blueprint = Blueprint("search", __name__, url_prefix="/api/search")

    @blueprint.get("")
    @document_querystring(SearchParameters)
    @document_response(FilesAnswer)
    async def search() -> Response:
        """Find files by name and facts.

        ``q`` is a part of the name, or a glob over the whole name when it has ``*``, ``?`` or ``[``; case does not
        matter. Labels and annotations must all hold. Beside the parameters listed, ``annotation[plugin/key]=value``
        asks for a plugin's annotation; a value that begins with ``~`` is a regular expression (RE2).
        """
        page = await context.find_files(parse_query(request.args.to_dict(flat=False)))
        return answer(FilesAnswer.of(page))

    return blueprint
