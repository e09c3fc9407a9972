"""Documents of plugin instances: what a new one holds, and what an old one says."""

from __future__ import annotations

from mosaicfs_core import documents as d
from mosaicfs_core.documents.instances import instance_document, package_of, settings_of

CREATED = d.format_time(0)


def test_a_new_instance_is_a_valid_document_that_is_called_as_its_package() -> None:
    made = instance_document("n1", "notes", created_at=CREATED)
    d.validate(made)
    assert made["_id"] == d.plugin_document_id("n1", "notes")
    assert (made["package"], made["name"], made["enabled"]) == ("notes", "notes", True)


def test_what_is_given_is_laid_over_it() -> None:
    made = instance_document("n1", "work", package="mail", title="Work", created_at=CREATED, settings={"a": 1})
    d.validate(made)
    assert (made["plugin_name"], made["package"], made["name"], made["settings"]) == ("work", "mail", "Work", {"a": 1})


def test_an_old_document_without_a_package_runs_the_one_of_its_name() -> None:
    assert package_of({"plugin_name": "mail"}) == "mail"
    assert package_of({"plugin_name": "work", "package": "mail"}) == "mail"


def test_settings_lie_over_the_configuration() -> None:
    assert settings_of({"config": {"a": 1, "b": 1}, "settings": {"b": 2}}) == {"a": 1, "b": 2}
    assert settings_of({"settings": None}) == {}
