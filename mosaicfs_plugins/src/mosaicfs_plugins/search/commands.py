"""``mosaicfs search``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from mosaicfs_core.hooks import CommandContext, UserError, node_argument, written_argument

_COLUMNS: Final = {"size": "size", "mtime": "changed", "node_id": "node", "export_path": "path"}
_PAGE: Final = 500
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_size = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII).fullmatch


class Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """A number of bytes, with a unit if you like: 500, 10MB, 1.5GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        match = _size(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size such as 500, 10MB or 1.5GiB.", param, ctx)
        exponent = "kmgt".find(match[2].lower()) + 1 if match[2] else 0
        unit = 1024**exponent if match[3] else _UNITS[match[2].lower()]
        return int(float(match[1]) * unit)


class Time(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """A time as the API takes it, refused in the name of the option when it is none."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it was given."""
        from mosaicfs_plugins.search.query import parse_time

        try:
            parse_time(str(value), self.name)
        except UserError:
            self.fail(f"{value!r} is not a time such as 2026-02-16 or 2026-02-16T09:22:00Z.", param, ctx)
        return str(value)


def _conditions(command: Any) -> Any:
    """The options of a search."""
    options = (
        click.option(
            "--label", multiple=True, metavar="LABEL", help="Only files with this label (repeat for several)."
        ),
        click.option(
            "--annotation", multiple=True, metavar="PLUGIN/KEY=VALUE", help="Only files annotated so; ~ for a regex."
        ),
        click.option("--node", metavar="NODE", help="Only files of this node, by name or id."),
        click.option("--type", "mime_type", metavar="MIME", help="A MIME type, or a glob such as image/*."),
        click.option("--larger", type=Size(), metavar="SIZE", help="At least this size (10MB)."),
        click.option("--smaller", type=Size(), metavar="SIZE", help="At most this size."),
        click.option("--after", type=Time(), metavar="TIME", help="Changed at or after this time (2026-02-16)."),
        click.option("--before", type=Time(), metavar="TIME", help="Changed at or before this time."),
        click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the command."""

    @cli.command(name="search", short_help="Find files by name, labels and facts.")
    @click.argument("text", required=False)
    @_conditions
    def search(
        text: str | None,
        label: tuple[str, ...],
        annotation: tuple[str, ...],
        node: str | None,
        mime_type: str | None,
        larger: int | None,
        smaller: int | None,
        after: str | None,
        before: str | None,
        limit: int,
    ) -> None:
        """Find files whose name contains TEXT, or matches it when it is a glob ('*.pdf').

        All conditions hold together; case does not matter. Files come in the order in which they were indexed, with
        --after, --before and no TEXT in the order of their times; narrow the search down, or raise --limit, when more
        are found than shown.
        """
        parameters: dict[str, Any] = {
            "q": text and written_argument(text),
            "label": list(label),
            "node_id": None if node is None else node_argument(context.api, node),
            "mime_type": mime_type,
            "min_size": larger,
            "max_size": smaller,
            "modified_after": after,
            "modified_before": before,
            **dict(_annotated(annotation)),
        }
        context.show(_pages(context, parameters, limit), _COLUMNS, empty="Nothing found.")


def _annotated(conditions: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Conditions on annotations as parameters of the API."""
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals or "/" not in key:
            raise click.UsageError(f"--annotation {condition!r}: expected PLUGIN/KEY=VALUE")
        yield f"annotation[{key}]", value


def _pages(context: CommandContext, parameters: dict[str, Any], limit: int) -> dict[str, Any]:
    """The first ``limit`` files, in as many requests as the API wants."""
    page: dict[str, Any] = context.api.get("search", limit=min(limit, _PAGE), **parameters)
    items = page["items"]
    while len(items) < limit and page.get("cursor"):
        page = context.api.get("search", limit=min(limit - len(items), _PAGE), cursor=page["cursor"], **parameters)
        items += page["items"]
    return {**page, "items": items, "offset": 0, "limit": limit}
