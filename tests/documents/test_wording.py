"""Wrong values are told in the words of whoever gave them, with the field and what was expected."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.wording import in_words


class Part(msgspec.Struct, forbid_unknown_fields=True):
    strategy: Literal["flatten", "prefix_replace"] = "flatten"
    size: Annotated[int, Meta(ge=1, le=10)] = 1
    share: Annotated[float, Meta(gt=0)] = 1.0


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=3)] = "x"
    path: Annotated[str, Meta(pattern="^/")] = "/"
    verdict: Annotated[str, Meta(pattern="^(include|exclude)$")] = "include"
    code: Annotated[str, Meta(pattern="^[a-z]$")] = "a"
    whole: Annotated[str, Meta(pattern="^[a-z]" + END)] = "a"
    parts: Annotated[list[Part], Meta(max_length=2)] = []
    named: dict[str, Part] | None = None


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"name": ""}, "name", "expected a text that is not empty"),
        ({"name": "long"}, "name", "expected a text of at most 3 characters"),
        ({"name": 3}, "name", "expected a text, got a whole number"),
        ({"path": "rel"}, "path", "expected a path that begins with /"),
        ({"verdict": "x"}, "verdict", "expected include or exclude"),
        ({"code": "X"}, "code", "expected a text of the form ^[a-z]$"),
        ({"whole": "a\n"}, "whole", "expected a text of the form ^[a-z]$"),
        ({"parts": [{}, {}, {}]}, "parts", "expected a list of at most 2 items"),
        ({"parts": [{"strategy": "flat"}]}, "parts[0].strategy", "expected flatten or prefix_replace, got 'flat'"),
        ({"parts": [{"size": 99}]}, "parts[0].size", "expected a whole number of at most 10"),
        ({"parts": [{"share": 0.0}]}, "parts[0].share", "expected a number of more than 0.0"),
        ({"named": {"a": {"strategy": "x"}}}, "named[...].strategy", "expected flatten or prefix_replace, got 'x'"),
        ({"named": 3}, "named", "expected an object or null, got a whole number"),
        ({"nme": 1}, "nme", "is not known here"),
        ({"parts": [{"siz": 1}]}, "parts[0].siz", "is not known here"),
    ],
)
def test_each_kind_of_error(given: Any, field: str, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, Whole)
    assert in_words(caught.value, Whole) == (field, problem)


def test_choices_are_named_only_when_the_type_is_known() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"strategy": "x"}, Part)
    assert in_words(caught.value) == ("strategy", "'x' is not one of its values")
