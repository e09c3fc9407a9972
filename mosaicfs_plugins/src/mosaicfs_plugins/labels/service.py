"""Labels over the host's documents: what the routes do, without the web."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mosaicfs_core.hooks import (
    Conflict,
    DocumentQuery,
    FileQuery,
    FileRecord,
    NotFound,
    Page,
    RoutesContext,
    UserError,
    file_document_id,
    label_assignment_id,
    label_rule_id,
    now_text,
    rule_covers,
)
from mosaicfs_plugins.labels import documents
from mosaicfs_plugins.labels.model import AssignmentChange, AssignmentFilter, FileTarget, NewRule, RuleFilter

if TYPE_CHECKING:
    from mosaicfs_plugins.answers import Fresh

_BATCH: Final = 1000
_ATTEMPTS: Final = 10
NO_RULE: Final = "there is no such label rule"
NO_FILE: Final = "there is no such file"
NO_ASSIGNMENT: Final = "no label was put on that file"


class LabelService:
    """Everything that can be asked of labels. Raises the errors of ``mosaicfs_core.hooks``."""

    def __init__(self, context: RoutesContext) -> None:
        self._context = context

    # Reading

    async def in_use(self) -> list[dict[str, Any]]:
        """Every label in use with the number of files it was put on and of rules that give it, by name."""
        files = await self._context.count_documents("label_assignment.label")
        rules = await self._context.count_documents("label_rule.label")
        names = sorted(files.keys() | rules.keys())
        return [{"label": name, "files": files.get(name, 0), "rules": rules.get(name, 0)} for name in names]

    async def assignments(self, wanted: AssignmentFilter) -> Page[dict[str, Any]]:
        """A page of assignment documents."""
        if wanted.file_id is not None or wanted.export_path is not None:
            target = FileTarget(file_id=wanted.file_id, node_id=wanted.node_id, export_path=wanted.export_path)
            document = await self._context.read_document(label_assignment_id(*await self.place(target)))
            fits = document is not None and wanted.label in (None, *document["labels"])
            found = (document,) if fits and document is not None else ()
            items = found[wanted.offset : wanted.offset + wanted.limit]
            return Page(items=items, total=len(found), offset=wanted.offset, limit=wanted.limit)
        index = "label_assignment" if wanted.label is None else "label_assignment.label"
        return await self._page(index, (wanted.label, wanted.node_id), wanted.limit, wanted.offset)

    async def rules(self, wanted: RuleFilter) -> Page[dict[str, Any]]:
        """A page of rule documents."""
        index = "label_rule" if wanted.label is None else "label_rule.label"
        return await self._page(index, (wanted.label, wanted.node_id), wanted.limit, wanted.offset)

    async def rule(self, rule_id: str) -> dict[str, Any]:
        """One rule. Raises ``NotFound``."""
        document = await self._context.read_document(label_rule_id(rule_id))
        if document is None:
            raise NotFound(NO_RULE)
        return document

    async def is_indexed(self, node_id: str, export_path: str) -> bool:
        """Whether there is a file at that path."""
        return bool(
            (await self._context.find_files(FileQuery(node_id=node_id, export_path=export_path, limit=1))).items
        )

    async def effective(self, target: FileTarget) -> dict[str, Any]:
        """A file's labels and their sources. Raises ``NotFound`` for a file that is not indexed."""
        node_id, path = await self.place(target)
        found = await self._context.find_files(FileQuery(node_id=node_id, export_path=path, status=None, limit=1))
        if not found.items:
            raise NotFound(NO_FILE)
        (labels,) = await self._context.effective_labels(found.items[:1])
        own = await self._context.read_document(label_assignment_id(node_id, path))
        rules = [rule for rule in await self._rules_over(node_id, path) if rule_covers(rule, node_id, path)]
        return {
            "node_id": node_id,
            "export_path": path,
            "labels": list(labels),
            "assigned": own["labels"] if own is not None else [],
            "rules": [documents.rule_body(rule) for rule in rules],
        }

    async def preview(self, node_id: str, path_prefix: str, examples: int) -> Page[FileRecord]:
        """The files that a rule would cover."""
        self._context.native(path_prefix)
        wanted = FileQuery(node_id=None if node_id == "*" else node_id, path_prefix=path_prefix, limit=examples)
        return await self._context.find_files(wanted)

    # Writing

    async def assign(self, change: AssignmentChange, fresh: Fresh) -> dict[str, Any]:
        """Give a file labels; the assignment as it is then."""
        if change.labels is not None and (change.add or change.remove):
            raise UserError("labels: expected either labels, or add and remove", field="labels")
        if change.labels is None and not change.add and not change.remove:
            raise UserError("labels: expected labels, or add and remove", field="labels")
        exact = None if change.labels is None else documents.clean(change.labels, "labels")
        add, remove = documents.clean(change.add, "add"), documents.clean(change.remove, "remove")
        node_id, path = await self.place(change)
        by = await self._who()

        def change_document(present: dict[str, Any] | None) -> dict[str, Any]:
            before = present["labels"] if present is not None else []
            labels = documents.changed(before, add, remove) if exact is None else exact
            if present is not None and labels == before:
                return present
            return documents.assignment(present, node_id, path, labels, now_text(), by)

        return await self._change(label_assignment_id(node_id, path), change_document, fresh)

    async def clear(self, target: FileTarget, fresh: Fresh) -> dict[str, Any]:
        """Take off all labels that were put on a file itself; the assignment as it was. Raises ``NotFound``."""
        return await self._delete(label_assignment_id(*await self.place(target)), NO_ASSIGNMENT, fresh)

    async def create_rule(self, rule: NewRule) -> dict[str, Any]:
        """Make a rule."""
        prefix = documents.folder_prefix(rule.path_prefix)
        labels = documents.clean(rule.labels, "labels")
        body: dict[str, Any] = {
            "_id": label_rule_id(str(uuid.uuid4())),
            "type": "label_rule",
            "node_id": rule.node_id,
            "path_prefix": prefix,
            "labels": labels,
            "name": rule.name if rule.name is not None else ", ".join(labels)[:200],
            "enabled": rule.enabled,
            "created_at": now_text(),
        }
        (written,) = await self._context.write_documents([body])
        return {**body, "_rev": written["rev"]}

    async def change_rule(self, rule_id: str, changes: Mapping[str, Any], fresh: Fresh) -> dict[str, Any]:
        """Change fields of a rule. Raises ``NotFound``."""
        fields = dict(changes)
        if "labels" in fields:
            fields["labels"] = documents.clean(fields["labels"], "labels")
        if "path_prefix" in fields:
            fields["path_prefix"] = documents.folder_prefix(fields["path_prefix"])

        def change(present: dict[str, Any] | None) -> dict[str, Any]:
            if present is None:
                raise NotFound(NO_RULE)
            made = {**present, **fields}
            return present if made == present else made

        return await self._change(label_rule_id(rule_id), change, fresh)

    async def delete_rule(self, rule_id: str, fresh: Fresh) -> dict[str, Any]:
        """Delete a rule; the rule as it was. Raises ``NotFound``."""
        return await self._delete(label_rule_id(rule_id), NO_RULE, fresh)

    # Parts

    async def place(self, target: FileTarget) -> tuple[str, str]:
        """Node id and path of a target. Raises ``UserError`` for half a target, ``NotFound`` for an unknown id."""
        if target.file_id is not None:
            if target.export_path is not None:
                raise UserError("file_id: expected either file_id or export_path", field="file_id")
            node_id, _, file_uuid = target.file_id.rpartition(".")
            document = await self._context.read_document(file_document_id(node_id, file_uuid))
            if document is None:
                raise NotFound(NO_FILE)
            return str(document["source"]["node_id"]), str(document["source"]["export_path"])
        if target.export_path is None:
            raise UserError("export_path: expected file_id or export_path", field="export_path")
        self._context.native(target.export_path)
        return target.node_id or self._context.node_id, target.export_path

    async def _who(self) -> str | None:
        caller = await self._context.whoami()
        name = caller.get("access_key_id") or caller.get("kind")
        return None if name is None else str(name)

    async def _page(self, index: str, key: tuple[str | None, ...], limit: int, offset: int) -> Page[dict[str, Any]]:
        present = tuple(part for part in key if part is not None)
        return await self._context.find_documents(DocumentQuery(type=index, key=present, limit=limit, offset=offset))

    async def _rules_over(self, node_id: str, path: str) -> list[dict[str, Any]]:
        """At least the rules that cover a file: all when a page holds them, else those of the folders above it."""
        page = await self._page("label_rule", (), _BATCH, 0)
        if page.total <= len(page.items):
            return list(page.items)
        ends = [position for position, character in enumerate(path, 1) if character == "/"]
        keys = [(owner, path[:end]) for owner in ("*", node_id) for end in ends]
        return [rule for key in keys for rule in (await self._page("label_rule", key, _BATCH, 0)).items]

    async def _change(
        self, document_id: str, function: Callable[[dict[str, Any] | None], dict[str, Any]], fresh: Fresh
    ) -> dict[str, Any]:
        """Replace a document by what ``function`` makes of it. A write that comes between is repeated upon."""
        for attempt in range(_ATTEMPTS):
            present = await self._context.read_document(document_id)
            fresh(present)
            made = function(present)
            if made is present:
                return made
            try:
                (written,) = await self._context.write_documents([made])
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return {**made, "_rev": written["rev"]}
        raise AssertionError("the last attempt returns or raises")

    async def _delete(self, document_id: str, missing: str, fresh: Fresh) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def remove(present: dict[str, Any] | None) -> dict[str, Any]:
            if present is None:
                raise NotFound(missing)
            found.update(present)
            return documents.tombstone(present)

        await self._change(document_id, remove, fresh)
        return found
