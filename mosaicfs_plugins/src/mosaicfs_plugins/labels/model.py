"""What the routes of labels take and answer."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

# In Python a bare ``$`` would also match before a newline at the end; in JSON Schema this means the same.
NODE_OR_ANY: Final = r"^(\*|[a-z0-9][a-z0-9-]{0,127})$(?!\n)"

Label = Annotated[str, Meta(min_length=1, max_length=200)]
Labels = Annotated[list[Label], Meta(max_length=100)]
SomeLabels = Annotated[list[Label], Meta(min_length=1, max_length=100)]
FilePath = Annotated[str, Meta(pattern="^/", max_length=8192, description="The path of a file on its node.")]
FolderPath = Annotated[str, Meta(pattern="^/", max_length=8192, description="The path of a folder on its node.")]
FileId = Annotated[str, Meta(min_length=1, max_length=200, description="The id of an indexed file.")]
NodeId = Annotated[str, Meta(min_length=1, max_length=200, description="A node; this one unless said otherwise.")]
RuleNode = Annotated[str, Meta(pattern=NODE_OR_ANY, description="A node, or * for all.")]
Name = Annotated[str, Meta(max_length=200)]


class Paging(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which slice of a list is wanted."""

    limit: Annotated[int, Meta(ge=1, le=500, description="At most this many items.")] = 100
    offset: Annotated[int, Meta(ge=0, lt=2**31, description="Skip this many items.")] = 0


class AssignmentFilter(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which assignments to list: of one file, of a node, with a label."""

    file_id: FileId | None = None
    node_id: NodeId | None = None
    export_path: FilePath | None = None
    label: Label | None = None


class FileTarget(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One file: by ``file_id``, or by ``export_path`` on a node (this one unless ``node_id`` says otherwise)."""

    file_id: FileId | None = None
    node_id: NodeId | None = None
    export_path: FilePath | None = None


class AssignmentChange(FileTarget, kw_only=True, forbid_unknown_fields=True):
    """The labels a file shall have: exactly ``labels``, or those it has with some added and removed."""

    labels: Labels | None = None
    add: Labels = []
    remove: Labels = []


class RuleFilter(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which rules to list."""

    node_id: RuleNode | None = None
    label: Label | None = None


class NewRule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A rule to make: everything in a folder, at any depth, has these labels."""

    path_prefix: FolderPath
    labels: SomeLabels
    node_id: RuleNode = "*"
    name: Name | None = None
    enabled: bool = True


class RuleChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a rule."""

    path_prefix: FolderPath | UnsetType = UNSET
    labels: SomeLabels | UnsetType = UNSET
    node_id: RuleNode | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RulePreview(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A rule that is not made yet; ``examples`` is how many files to name."""

    path_prefix: FolderPath
    node_id: RuleNode = "*"
    examples: Annotated[int, Meta(ge=0, le=100)] = 10


class LabelAnswer(msgspec.Struct, kw_only=True):
    """A label in use: on how many single files it was put, and how many rules give it."""

    label: str
    files: int
    rules: int


class AssignmentAnswer(msgspec.Struct, kw_only=True):
    """The labels that were put on one file itself."""

    node_id: str
    export_path: str
    labels: list[str]
    updated_at: str
    updated_by: str | None = None


class AssignedAnswer(AssignmentAnswer, kw_only=True):
    """The labels a file now has itself. Not ``indexed``: nothing is known at that path yet; the labels wait for it."""

    indexed: bool


class RuleAnswer(msgspec.Struct, kw_only=True):
    """A rule."""

    id: str
    node_id: str
    path_prefix: str
    labels: list[str]
    name: str
    enabled: bool
    created_at: str


class EffectiveAnswer(msgspec.Struct, kw_only=True):
    """The labels a file has, and where each comes from: put on the file itself, or given by rules."""

    node_id: str
    export_path: str
    labels: list[str]
    assigned: list[str]
    rules: list[RuleAnswer]


class Example(msgspec.Struct, kw_only=True):
    """A file that a rule would cover."""

    id: str
    node_id: str
    export_path: str
    name: str


class PreviewAnswer(msgspec.Struct, kw_only=True):
    """How many files a rule would cover (exact up to 1,000, then ``more`` is true), and some of them."""

    total: int
    more: bool
    examples: list[Example]


class LabelsAnswer(msgspec.Struct, kw_only=True):
    """A slice of the labels in use, by name."""

    items: list[LabelAnswer]
    total: int
    offset: int
    limit: int


class AssignmentsAnswer(msgspec.Struct, kw_only=True):
    """A slice of the assignments."""

    items: list[AssignmentAnswer]
    total: int
    offset: int
    limit: int


class RulesAnswer(msgspec.Struct, kw_only=True):
    """A slice of the rules."""

    items: list[RuleAnswer]
    total: int
    offset: int
    limit: int


def changes_of(change: RuleChange) -> dict[str, Any]:
    """The fields that a change names."""
    return {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
