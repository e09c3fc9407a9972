"""What all document structs share: scalar types with their bounds, and room for fields a newer version added."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from mosaicfs_core.documents.ids import INSTANCE_PATTERN, NODE_ID_PATTERN
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.documents.times import TIME_PATTERN

# No document has a field of this name: ``extra`` is filled by ``codec.parse`` alone.
EXTRA_WIRE_NAME: Final = "mosaicfs:extra"

# Browsers hold integers exactly below 2**53.
Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, lt=2**53)]
Inode: TypeAlias = Annotated[int, Meta(ge=1, lt=2**53)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0)]
Time: TypeAlias = Annotated[str, Meta(pattern=TIME_PATTERN, max_length=27)]
NodeId: TypeAlias = Annotated[str, Meta(pattern=f"^{NODE_ID_PATTERN}{END}")]
NodeOrAny: TypeAlias = Annotated[str, Meta(pattern=rf"^(\*|{NODE_ID_PATTERN}){END}")]
InstanceName: TypeAlias = Annotated[str, Meta(pattern=f"^{INSTANCE_PATTERN}{END}")]
Path: TypeAlias = Annotated[str, Meta(pattern="^/")]
Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Label: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Verdict: TypeAlias = Literal["include", "exclude"]
StepResult: TypeAlias = Literal["continue", "include", "exclude"]


class Record(Struct, frozen=True, kw_only=True):
    """A JSON object. ``extra`` holds the fields that this version does not know; they survive a round trip."""

    extra: dict[str, Any] = msgspec.field(default_factory=dict, name=EXTRA_WIRE_NAME)


class Document(Record, frozen=True, kw_only=True, rename={"id": "_id", "rev": "_rev", "deleted": "_deleted"}):
    """A document: an object with an id, and with a revision once it is stored."""

    id: str
    rev: str | None = None
    deleted: bool | None = None


class Step(Record, frozen=True, kw_only=True):
    """One step of a filter chain; the op's own fields are in ``extra``.

    ``on_no_match`` None stands for its default, which depends on ``on_match`` (see ``mosaicfs_core.rules``).
    """

    op: Text
    invert: bool = False
    on_match: StepResult = "continue"
    on_no_match: StepResult | None = None
