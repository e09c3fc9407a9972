"""Mango selectors, the subset that the flows use, compiled to a predicate over documents. Pure.

Operators: ``$eq $ne $gt $gte $lt $lte $in $nin $exists $type $size $mod $regex $all $elemMatch $and $or $nor $not``.
Fields are dotted paths. Values compare in CouchDB's order: null, booleans, numbers, texts, arrays, objects; texts by
code point. Regular expressions are re2's, which take linear time. Anything else is a UserError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import re2

from ..errors import UserError

Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
Test: TypeAlias = Callable[[Any], bool]

MISSING: Final = object()
"""The value of a field that is not there."""

_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")


def compile_selector(selector: Mapping[str, Any]) -> Predicate:
    """A predicate that says whether a document matches. Raises UserError naming what it cannot understand."""
    test = _value_test(selector, "selector")
    return lambda document: test(document)


def equalities(selector: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a selector requires to equal a value, whatever else it says."""
    found: dict[str, Any] = {}
    for field, condition in selector.items():
        if field == "$and" and isinstance(condition, list):
            for part in condition:
                if isinstance(part, Mapping):
                    found |= equalities(part)
        elif not field.startswith("$"):
            if not isinstance(condition, Mapping):
                found[field] = condition
            elif "$eq" in condition:
                found[field] = condition["$eq"]
    return found


def _value_test(condition: Any, where: str) -> Test:
    """A test of a value against a selector: operators apply to the value, other keys to its fields."""
    if not isinstance(condition, Mapping):
        return _compare("$eq", condition)
    tests = []
    for key, argument in condition.items():
        place = f"{where}.{key}"
        tests.append(_operator(key, argument, place) if key.startswith("$") else _field(key, argument, place))
    if not tests:
        return lambda value: True
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _field(name: str, condition: Any, where: str) -> Test:
    parts = [part.replace("\0", ".") for part in name.replace("\\.", "\0").split(".")]
    test = _value_test(condition, where)
    if isinstance(condition, Mapping) and not condition:
        test = _compare("$eq", {})

    def check(value: Any) -> bool:
        for part in parts:
            if isinstance(value, Mapping):
                value = value.get(part, MISSING)
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return test(MISSING)
        return test(value)

    return check


def _operator(name: str, argument: Any, where: str) -> Test:
    make = _OPERATORS.get(name)
    if make is None:
        raise UserError(f"{where}: the operator {name} is not supported", field=where)
    return make(name, argument, where)


def _list(argument: Any, where: str) -> list[Any]:
    if not isinstance(argument, list):
        raise UserError(f"{where}: expected an array", field=where)
    return argument


def _combination(name: str, argument: Any, where: str) -> Test:
    tests = [_value_test(part, f"{where}[{index}]") for index, part in enumerate(_list(argument, where))]
    if name == "$and":
        return lambda value: all(test(value) for test in tests)
    if name == "$or":
        return lambda value: any(test(value) for test in tests)
    return lambda value: not any(test(value) for test in tests)


def _not(name: str, argument: Any, where: str) -> Test:
    test = _value_test(argument, where)
    return lambda value: not test(value)


def _ordering(name: str, argument: Any, where: str) -> Test:
    return _compare(name, argument)


def _compare(name: str, argument: Any) -> Test:
    if name in ("$eq", "$ne"):
        same = name == "$eq"
        return lambda value: value is not MISSING and _equal(value, argument) is same
    wanted = sort_key(argument)
    if name == "$gt":
        return lambda value: value is not MISSING and sort_key(value) > wanted
    if name == "$gte":
        return lambda value: value is not MISSING and sort_key(value) >= wanted
    if name == "$lt":
        return lambda value: value is not MISSING and sort_key(value) < wanted
    return lambda value: value is not MISSING and sort_key(value) <= wanted


def _membership(name: str, argument: Any, where: str) -> Test:
    wanted, inside = _list(argument, where), name == "$in"

    def check(value: Any) -> bool:
        if value is MISSING:
            return False
        candidates = [value, *value] if isinstance(value, list) else [value]
        return any(_equal(candidate, one) for candidate in candidates for one in wanted) is inside

    return check


def _exists(name: str, argument: Any, where: str) -> Test:
    if not isinstance(argument, bool):
        raise UserError(f"{where}: expected true or false", field=where)
    return lambda value: (value is not MISSING) is argument


def _type(name: str, argument: Any, where: str) -> Test:
    if argument not in _TYPES:
        raise UserError(f"{where}: expected one of {', '.join(_TYPES)}", field=where)
    return lambda value: value is not MISSING and _TYPES[_rank(value)] == argument


def _size(name: str, argument: Any, where: str) -> Test:
    if type(argument) is not int or argument < 0:
        raise UserError(f"{where}: expected a number of elements", field=where)
    return lambda value: isinstance(value, list) and len(value) == argument


def _mod(name: str, argument: Any, where: str) -> Test:
    if (
        not isinstance(argument, list)
        or len(argument) != 2
        or any(type(one) is not int for one in argument)
        or not argument[0]
    ):
        raise UserError(f"{where}: expected [divisor, remainder] with a divisor other than 0", field=where)
    divisor, remainder = argument
    return lambda value: type(value) is int and value - divisor * int(value / divisor) == remainder


def _regex(name: str, argument: Any, where: str) -> Test:
    try:
        search = re2.compile(argument).search
    except (re2.error, TypeError) as error:
        raise UserError(f"{where}: not a regular expression that re2 takes: {error}", field=where) from None
    return lambda value: isinstance(value, str) and search(value) is not None


def _all(name: str, argument: Any, where: str) -> Test:
    wanted = _list(argument, where)
    return lambda value: isinstance(value, list) and all(any(_equal(one, has) for has in value) for one in wanted)


def _element(name: str, argument: Any, where: str) -> Test:
    test = _value_test(argument, where)
    return lambda value: isinstance(value, list) and any(test(element) for element in value)


_OPERATORS: Final[Mapping[str, Callable[[str, Any, str], Test]]] = {
    "$and": _combination,
    "$or": _combination,
    "$nor": _combination,
    "$not": _not,
    "$eq": _ordering,
    "$ne": _ordering,
    "$gt": _ordering,
    "$gte": _ordering,
    "$lt": _ordering,
    "$lte": _ordering,
    "$in": _membership,
    "$nin": _membership,
    "$exists": _exists,
    "$type": _type,
    "$size": _size,
    "$mod": _mod,
    "$regex": _regex,
    "$all": _all,
    "$elemMatch": _element,
}


def _rank(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        return 2
    if isinstance(value, str):
        return 3
    return 4 if isinstance(value, list | tuple) else 5


def sort_key(value: Any) -> tuple[Any, ...]:
    """A key that sorts JSON values as CouchDB does, except that texts sort by code point."""
    rank = _rank(value)
    if rank == 0:
        return (0,)
    if rank == 4:
        return (4, *[sort_key(element) for element in value])
    if rank == 5:
        return (5, *[(key, sort_key(element)) for key, element in sorted(value.items())])
    return rank, value


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    return sort_key(left) == sort_key(right)
