"""What msgspec finds wrong with a value, in words for whoever gave it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import inspect

_KINDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_HOUR: Final = "([01][0-9]|2[0-3]):[0-5][0-9]"
_FORMS: Final = {
    "^/": "a path that begins with /",
    f"^{_HOUR}-{_HOUR}$": "a span of hours such as 22:00-06:00",
}
_PLACE: Final = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<field>.*)`)?$", re.DOTALL)
_NAMED: Final = re.compile(r"Object (missing required|contains unknown) field `(.*)`")
_CHOICE: Final = re.compile(r"\^\(([\w-]+(?:\|[\w-]+)*)\)\$")


def in_words(error: msgspec.ValidationError, model: Any = None) -> tuple[str, str]:
    """The field's dotted path ("" for the whole value) and what is wrong with it: ``expected a text that is not
    empty``.

    ``model`` is the type that was wanted; with it the choices of an enumeration can be named.
    """
    match = _PLACE.match(str(error))
    assert match is not None  # everything in the pattern is optional
    problem, field = match["problem"], match["field"] or ""
    if named := _NAMED.fullmatch(problem):
        field = f"{field}.{named[2]}" if field else named[2]
        return field, "is missing" if named[1] == "missing required" else "is not known here"
    if problem.startswith("Invalid enum value"):
        choices = _choices(model, field)
        got = problem.removeprefix("Invalid enum value ")
        return field, f"expected {_either(choices)}, got {got}" if choices else f"{got} is not one of its values"
    for pattern, words in _PROBLEMS:
        if found := pattern.fullmatch(problem):
            return field, words(found)
    problem = problem.replace("`", "")
    return field, problem[:1].lower() + problem[1:]


def _either(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _kind(name: str) -> str:
    return " or ".join(_KINDS.get(part, part) for part in name.split(" | "))


def _length(found: re.Match[str]) -> str:
    kind, sign, number = found.groups()
    if kind == "str" and (sign, number) == (">=", "1"):
        return "expected a text that is not empty"
    unit = "characters" if kind == "str" else "items"
    return f"expected {_kind(kind)} of {_BOUNDS[sign]} {number} {unit}"


def _form(found: re.Match[str]) -> str:
    # What follows a ``$`` is for machines (``documents.patterns.END``).
    pattern = found[1].replace(r"$(?!\\n)", "$")
    if choice := _CHOICE.fullmatch(pattern):
        return f"expected {_either(choice[1].split('|'))}"
    return f"expected {_FORMS.get(pattern, f'a text of the form {pattern}')}"


_PROBLEMS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"Expected `([^`]+)` of length ([<>]=?) (\d+)"), _length),
    (re.compile(r"Expected `str` matching regex '(.*)'"), _form),
    (
        re.compile(r"Expected `([^`]+)` ([<>]=?) (\S+)"),
        lambda found: f"expected {_kind(found[1])} of {_BOUNDS[found[2]]} {found[3]}",
    ),
    (
        re.compile(r"Expected `([^`]+)`, got `([^`]+)`"),
        lambda found: f"expected {_kind(found[1])}, got {_kind(found[2])}",
    ),
)


def _choices(model: Any, field: str) -> list[str]:
    """The values of the enumeration at a dotted path (``mounts[0].strategy``) within a type; [] when there is none."""
    if model is None:
        return []
    here = [inspect.type_info(model)]
    for part in re.findall(r"[^.\[\]]+|\[", field.replace("[...]", "[")):
        if not part.isdigit():
            here = [inner for kind in here for inner in _inside(kind, part)]
    return [str(value) for kind in _flat(here) if isinstance(kind, inspect.LiteralType) for value in kind.values]


def _inside(kind: inspect.Type, part: str) -> list[inspect.Type]:
    found: list[inspect.Type] = []
    for one in _flat([kind]):
        if isinstance(one, inspect.StructType) and part != "[":
            found += [field.type for field in one.fields if field.encode_name == part]
        elif isinstance(one, inspect.VarTupleType | inspect.ListType) and part == "[":
            found.append(one.item_type)
        elif isinstance(one, inspect.DictType):
            found.append(one.value_type)
    return found


def _flat(kinds: list[inspect.Type]) -> list[inspect.Type]:
    """The kinds without the wrappers and unions around them."""
    flat: list[inspect.Type] = []
    for kind in kinds:
        if isinstance(kind, inspect.Metadata):
            flat += _flat([kind.type])
        elif isinstance(kind, inspect.UnionType):
            flat += _flat(list(kind.types))
        else:
            flat.append(kind)
    return flat
