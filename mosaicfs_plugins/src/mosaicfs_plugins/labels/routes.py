"""``/api/labels``: labels in use, labels of single files, rules, and what a file has in the end."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.hooks import Page, RoutesContext
from mosaicfs_plugins.answers import answer, if_match
from mosaicfs_plugins.labels import model
from mosaicfs_plugins.labels.documents import assignment_body, folder_prefix, rule_body
from mosaicfs_plugins.labels.service import LabelService


def page_body(page: Page[dict[str, Any]], items: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of documents as the API shows it."""
    return {"items": items, "total": page.total, "offset": page.offset, "limit": page.limit}


def make_blueprint(context: RoutesContext) -> Blueprint:
    """The blueprint over a context."""
    blueprint = Blueprint("labels", __name__, url_prefix="/api/labels")
    service = LabelService(context)
    _add_reading(blueprint, service)
    _add_assignments(blueprint, service)
    _add_rules(blueprint, service)
    _add_rule_changes(blueprint, service)
    return blueprint


def _add_reading(blueprint: Blueprint, service: LabelService) -> None:
    @blueprint.get("")
    @validate_querystring(model.Paging)
    @document_response(model.LabelsAnswer)
    async def list_labels(query_args: model.Paging) -> Response:
        """List the labels in use, with how many files and rules have them."""
        found = await service.in_use()
        items = found[query_args.offset : query_args.offset + query_args.limit]
        return answer({"items": items, "total": len(found), "offset": query_args.offset, "limit": query_args.limit})

    @blueprint.get("/effective")
    @validate_querystring(model.FileTarget)
    @document_response(model.EffectiveAnswer)
    async def effective(query_args: model.FileTarget) -> Response:
        """Show the labels a file has in the end, and where each comes from."""
        return answer(await service.effective(query_args))


def _add_assignments(blueprint: Blueprint, service: LabelService) -> None:
    @blueprint.get("/assignments")
    @validate_querystring(model.AssignmentFilter)
    @document_response(model.AssignmentsAnswer)
    async def list_assignments(query_args: model.AssignmentFilter) -> Response:
        """List the labels that were put on single files; asked for one file, the answer has its ``ETag``."""
        page = await service.assignments(query_args)
        one = query_args.file_id is not None or query_args.export_path is not None
        document = page.items[0] if one and page.items else None
        return answer(page_body(page, [assignment_body(item) for item in page.items]), document=document)

    @blueprint.put("/assignments")
    @validate_request(model.AssignmentChange)
    @document_response(model.AssignedAnswer)
    async def assign(data: model.AssignmentChange) -> Response:
        """Give a file exactly these labels, or add and remove some. They stay with its path when it is indexed anew."""
        document = await service.assign(data, if_match())
        indexed = await service.is_indexed(document["node_id"], document["export_path"])
        return answer({**assignment_body(document), "indexed": indexed}, document=document)

    @blueprint.delete("/assignments")
    @validate_querystring(model.FileTarget)
    @document_response(model.AssignmentAnswer)
    async def clear(query_args: model.FileTarget) -> Response:
        """Take off all labels that were put on a file itself; answers what it had. Rules go on to apply."""
        return answer(assignment_body(await service.clear(query_args, if_match())))


def _add_rules(blueprint: Blueprint, service: LabelService) -> None:
    @blueprint.get("/rules")
    @validate_querystring(model.RuleFilter)
    @document_response(model.RulesAnswer)
    async def list_rules(query_args: model.RuleFilter) -> Response:
        """List the rules."""
        page = await service.rules(query_args)
        return answer(page_body(page, [rule_body(item) for item in page.items]))

    @blueprint.post("/rules")
    @validate_request(model.NewRule)
    @document_response(model.RuleAnswer, 201)
    async def create_rule(data: model.NewRule) -> Response:
        """Make a rule: everything in a folder has these labels."""
        document = await service.create_rule(data)
        body = rule_body(document)
        response = answer(body, 201, document)
        response.headers["Location"] = f"/api/labels/rules/{body['id']}"
        return response

    @blueprint.post("/rules/preview")
    @validate_request(model.RulePreview)
    @document_response(model.PreviewAnswer)
    async def preview(data: model.RulePreview) -> Response:
        """Count the files that a rule would cover, and name some, without making it."""
        page = await service.preview(data.node_id, folder_prefix(data.path_prefix), data.examples)
        examples = [
            {"id": file.file_id, "node_id": file.node_id, "export_path": file.export_path, "name": file.name}
            for file in page.items
        ]
        return answer({"total": page.total, "more": page.more, "examples": examples})


def _add_rule_changes(blueprint: Blueprint, service: LabelService) -> None:
    @blueprint.get("/rules/<rule_id>")
    @document_response(model.RuleAnswer)
    async def show_rule(rule_id: str) -> Response:
        """Show one rule."""
        document = await service.rule(rule_id)
        return answer(rule_body(document), document=document)

    @blueprint.patch("/rules/<rule_id>")
    @validate_request(model.RuleChange)
    @document_response(model.RuleAnswer)
    async def change_rule(rule_id: str, data: model.RuleChange) -> Response:
        """Change a rule, or switch it on or off."""
        document = await service.change_rule(rule_id, model.changes_of(data), if_match())
        return answer(rule_body(document), document=document)

    @blueprint.delete("/rules/<rule_id>")
    @document_response(model.RuleAnswer)
    async def delete_rule(rule_id: str) -> Response:
        """Delete a rule; answers what it was. Labels that were put on files themselves stay."""
        return answer(rule_body(await service.delete_rule(rule_id, if_match())))
