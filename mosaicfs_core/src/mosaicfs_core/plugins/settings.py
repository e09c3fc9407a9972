"""Plugin settings: a manifest's JSON Schema, checked, defaults filled in, secrets masked and sealed.

A schema is plain JSON Schema (2020-12) of an object. Two shorthands are translated on reading: ``"type": "secret"`` is
``{"type": "string", "format": "secret", "writeOnly": true}``, and ``"type": "enum"`` with ``"values": […]`` (or
``"enum"``) is ``{"enum": […]}``.

What no schema describes may be a secret as well: where a setting is unknown, or its schema branches (``$ref``,
``anyOf`` and their like), every text of it is masked. It is sealed as well where there is no schema at all, or one that
speaks of secrets in such a branch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from mosaicfs_core.documents.instances import package_of
from mosaicfs_core.errors import PluginError
from mosaicfs_core.plugins.schema_shape import MOST_LEVELS, translate
from mosaicfs_core.security.sealing import is_sealed

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

    from mosaicfs_core.plugins.host import PluginHost

MASK: Final = {"set": True}
_BRANCHES: Final = frozenset(
    [
        "$ref",
        "$dynamicRef",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentSchemas",
        "patternProperties",
        "prefixItems",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
_DEFINITIONS: Final = frozenset(["$defs", "definitions"])
Hide: TypeAlias = Callable[[Any], Any]
_ANYTHING: Final[Mapping[str, Any]] = {"type": "object"}


class FieldError(NamedTuple):
    """What is wrong with one setting. ``field`` is a dotted path, "" for the settings as a whole."""

    field: str
    message: str


class SettingsSchema:
    """One plugin's schema. Raises ``PluginError`` when the schema itself is no schema."""

    def __init__(self, plugin: str, schema: Mapping[str, Any] | None) -> None:
        self._plugin = plugin
        self.schema = translate(_ANYTHING if schema is None else schema, plugin)
        self._seals_texts = schema is None or _branches_to_secrets(self.schema)

    @classmethod
    def compiled(cls, plugin: str, schema: Mapping[str, Any] | None) -> SettingsSchema:
        """One that settings are checked by: jsonschema has seen the whole of it, which for a long one takes a second.
        Raises ``PluginError``."""
        made = cls(plugin, schema)
        made._validator  # noqa: B018 - what is wrong with it is to be known now
        return made

    @cached_property
    def _validator(self) -> Validator:
        # jsonschema takes long to import, and most processes never check a setting.
        from jsonschema import Draft202012Validator, SchemaError
        from referencing.jsonschema import EMPTY_REGISTRY

        try:
            Draft202012Validator.check_schema(self.schema)
        except Exception as error:  # of its own, but also whatever its parts raise over odd patterns and numbers
            problem = error.message if isinstance(error, SchemaError) else f"{type(error).__name__}: {error}"
            message = f"plugin {self._plugin}: its settings_schema is not a JSON Schema: {problem}"
            raise PluginError(message, self._plugin, "mosaicfs_manifest") from error
        return Draft202012Validator(self.schema, registry=EMPTY_REGISTRY)  # which fetches nothing from elsewhere

    def errors(self, settings: Mapping[str, Any]) -> list[FieldError]:
        """What is wrong with settings, by field; empty when they are right. Secret values are never repeated; of a
        sealed one only the node that opens it can tell. Raises ``PluginError`` where the schema cannot be applied."""
        try:
            wrong = [one for one in self._validator.iter_errors(dict(settings)) if not _concerns_sealed(one)]
        except PluginError:
            raise
        except Exception as error:  # a reference that leads nowhere, or in a circle
            reason = f"{type(error).__name__}: {error}"
            message = f"plugin {self._plugin}: settings cannot be checked by its settings_schema: {reason}"
            raise PluginError(message, self._plugin, "mosaicfs_manifest") from error
        return sorted({self._field_error(one) for one in wrong})

    def filled(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with the schema's defaults where nothing is set, nested objects included."""
        return _fill(self.schema, settings)

    def masked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with ``{"set": true}`` for each secret that is set."""
        return {key: _hidden(_part(self.schema, key), value, _mask, _mask) for key, value in settings.items()}

    def sealed(self, settings: Mapping[str, Any], seal: Callable[[Any], str]) -> dict[str, Any]:
        """The settings with ``seal`` of each secret that is set and not sealed yet."""

        def once(value: Any) -> Any:
            return value if value in (None, "") or is_sealed(value) else seal(value)

        texts = once if self._seals_texts else _as_it_is
        return {key: _hidden(_part(self.schema, key), value, once, texts) for key, value in settings.items()}

    def unmasked(self, settings: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
        """New settings in which a mask stands for the stored secret (what a form sends back untouched)."""
        return {key: _unmask(_part(self.schema, key), value, stored.get(key)) for key, value in settings.items()}

    def _field_error(self, error: Any) -> FieldError:
        path = [str(part) for part in error.absolute_path]
        if error.validator == "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return FieldError(".".join([*path, missing[0]]) if missing else ".".join(path), "is required")
        if error.validator == "additionalProperties" and error.validator_value is False:
            known = list(error.schema.get("properties", {}))
            unknown = [name for name in error.instance if name not in known]
            expected = f"expected one of {', '.join(known)}" if known else "there are no settings"
            return FieldError(".".join([*path, *unknown[:1]]), f"unknown setting; {expected}")
        # A container's message repeats the whole of it, with the secrets in it; keys alone may be named.
        holds_more = isinstance(error.instance, Mapping | list) and error.validator != "additionalProperties"
        if _is_secret(error.schema) or holds_more:
            return FieldError(".".join(path), f"does not satisfy {error.validator!r} of its schema")
        if error.validator == "pattern" and "\0" in error.instance:
            return FieldError(".".join(path), f"{error.instance!r} holds a NUL (a zero byte)")
        if error.validator == "pattern" and (described := error.schema.get("description")):
            # A regular expression tells people nothing.
            expected = described[:1].lower() + described[1:].rstrip(".")
            return FieldError(".".join(path), f"expected {expected}, got {error.instance!r}")
        return FieldError(".".join(path), error.message)


def schema_for(host: PluginHost, document: Mapping[str, Any]) -> SettingsSchema:
    """The schema to show and merge an instance's settings with.

    That of the package where it loads, else the one its document remembers (of an uninstalled, failed or disabled
    package), else an empty one, which masks every text.
    """
    package = package_of(document)
    plugin = host.plugins.get(package)
    try:
        if plugin is not None and plugin.manifest is not None:
            return host.settings_schema(plugin)
        return SettingsSchema(package, document.get("settings_schema"))
    except PluginError:
        return SettingsSchema(package, None)


def masked_plugin(host: PluginHost, document: Mapping[str, Any]) -> dict[str, Any]:
    """A valid plugin document without its secrets, which the package's schema names, or else the document's own."""
    schema = schema_for(host, document)
    return {
        **document,
        **{part: schema.masked(document[part]) for part in ("settings", "config") if document.get(part)},
    }


def with_defaults(schema: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a schema's defaults where nothing is set, for a process that checks none."""
    return _fill({} if schema is None else translate(schema), settings)


def _is_secret(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("format") == "secret"


def _fill(schema: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(settings)
    for key, part in schema.get("properties", {}).items():
        if not isinstance(part, Mapping):
            continue
        if key not in filled and "default" in part:
            filled[key] = copy.deepcopy(part["default"])
        if isinstance(filled.get(key), Mapping):
            filled[key] = _fill(part, filled[key])
    return filled


def _part(schema: Mapping[str, Any] | None, key: str) -> Mapping[str, Any] | None:
    """The schema of a key of an object; None when nothing is said of it, or not plainly."""
    if schema is None:
        return None
    properties = schema.get("properties", {})
    found = properties[key] if key in properties else schema.get("additionalProperties")
    return _plain(found)


def _items(schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if schema is None else _plain(schema.get("items"))


def _plain(schema: Any) -> Mapping[str, Any] | None:
    return schema if isinstance(schema, Mapping) and not _BRANCHES & schema.keys() else None


def _mask(value: Any) -> Any:
    return dict(MASK) if value not in (None, "") else None


def _as_it_is(value: Any) -> Any:
    return value


def _hidden(schema: Mapping[str, Any] | None, value: Any, secret: Hide, text: Hide, level: int = 0) -> Any:
    """A value with each secret in it replaced by ``secret`` of it, and each text that may be one by ``text`` of it.
    What lies deeper than any schema reaches is taken for a secret as a whole."""
    if _is_secret(schema) or (level > MOST_LEVELS and isinstance(value, Mapping | list)):
        return secret(value)
    if isinstance(value, Mapping):
        return {key: _hidden(_part(schema, key), inner, secret, text, level + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hidden(_items(schema), inner, secret, text, level + 1) for inner in value]
    return text(value) if schema is None and isinstance(value, str) and value else value


def _branches_to_secrets(schema: Any, branched: bool = False) -> bool:
    """Whether a schema speaks of secrets where only a validator finds the way to them."""
    if isinstance(schema, list | tuple):
        return any(_branches_to_secrets(part, branched) for part in schema)
    if not isinstance(schema, Mapping):
        return False
    if branched and _is_secret(schema):
        return True
    return any(
        _branches_to_secrets(part, branched or key in _BRANCHES or key in _DEFINITIONS) for key, part in schema.items()
    )


def _concerns_sealed(error: Any) -> bool:
    """Whether what is wrong is, or may be, that a value is sealed."""
    return is_sealed(error.instance) or (error.validator in _BRANCHES and _holds_sealed(error.instance))


def _holds_sealed(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_sealed(inner) for inner in value.values())
    return any(_holds_sealed(inner) for inner in value) if isinstance(value, list) else is_sealed(value)


def _unmask(schema: Mapping[str, Any] | None, value: Any, stored: Any) -> Any:
    if value == MASK and (schema is None or _is_secret(schema)):
        return stored
    if value is None and stored == "" and _is_secret(schema):
        return stored  # which is how an empty one is shown
    if isinstance(value, Mapping):
        known = stored if isinstance(stored, Mapping) else {}
        return {key: _unmask(_part(schema, key), inner, known.get(key)) for key, inner in value.items()}
    # By position: in a list of another length nobody knows which is which, and the mask stays, to be refused.
    if isinstance(value, list) and isinstance(stored, list) and len(value) == len(stored):
        return [_unmask(_items(schema), inner, old) for inner, old in zip(value, stored, strict=True)]
    return value
