"""Schemathesis over every operation of a running instance: what it reached, and what it found."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import schemathesis
from api_feed import AWAY, asking, feed_all, feed_away, feed_path, make_right
from api_world import TIMEOUT_S, World
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import GenerationConfig, SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response

EXAMPLES: Final = 6
"""Of right and of wrong requests for each operation, beside those at the bounds of what its schema allows."""

CHECKED: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "negative_data_rejection",
)
_REFUSALS: Final = ("400", "401", "403", "404", "405", "409", "412", "413", "415", "429", "431")
_GENERATION: Final = GenerationConfig(deterministic=True, with_security_parameters=False)
_SAME_EACH_TIME: Final = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)

Feed = Callable[[Case, World], None]


def as_generated(_case: Case, _world: World) -> None:
    """Real ids get into every request but this kind."""


_FEEDS: Final[tuple[Feed, ...]] = (feed_all, feed_all, feed_away, as_generated)


@dataclass
class Report:
    """What a run came to: by operation the statuses that were seen, and each failure once with a way to repeat it."""

    requests: int = 0
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def unreached(self) -> set[str]:
        """The operations that never succeeded."""
        return {name for name, seen in self.statuses.items() if not any(200 <= code < 300 for code in seen)}

    def add(self, case: Case, world: World, checks: list[Any]) -> None:
        """Send a request and judge the answer."""
        operation = case.operation
        seen = self.statuses.setdefault(operation.label, Counter())
        answer = sent(case, world)
        self.requests += 1
        if case.method == operation.method.upper():  # Schemathesis tries others as well
            seen[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=checks)
        except FailureGroup as group:
            for failure in group.exceptions:
                name = f"{type(failure).__name__}, status {answer.status_code}"
                self.failures.setdefault((operation.label, name), str(group))


def sent(case: Case, world: World) -> Response:
    """The answer to a request."""
    auth, cookies = asking(world, case.operation.label, case.operation.path)
    return case.call(
        base_url=world.url,
        session=world.session,
        auth=auth,
        cookies=cookies,
        timeout=TIMEOUT_S,
        allow_redirects=False,
    )


def may_be_wrong(operation: Any) -> bool:
    """Whether a request for an operation can be wrong: one that has nothing but texts in its path cannot."""
    places = operation.path_parameters
    typed = any(parameter.definition["schema"] != {"type": "string"} for parameter in places)
    return typed or any(list(part) for part in (operation.query, operation.headers, operation.cookies, operation.body))


def cases_of(operation: Any, mode: GenerationMode) -> list[Case]:
    """Some generated requests for an operation, the same ones each time."""
    found: list[Case] = []
    if mode is GenerationMode.NEGATIVE and not may_be_wrong(operation):
        return found  # which Hypothesis finds out in a thousand attempts

    @_SAME_EACH_TIME
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def plan(operation: Any) -> Iterator[tuple[Case, Feed]]:
    """The requests for an operation, each with how real ids get into it."""
    blank = {parameter.name: "x" for parameter in operation.path_parameters}
    kinds = operation.get_request_payload_content_types()
    yield operation.Case(path_parameters=blank, media_type=kinds[0] if kinds else None), make_right
    for case, feed in zip(cases_of(operation, GenerationMode.POSITIVE), itertools.cycle(_FEEDS), strict=False):
        yield case, feed
    for case in cases_of(operation, GenerationMode.NEGATIVE):
        yield case, feed_path
    at_bounds = operation.schema.iter_coverage_cases(
        operation, generation_modes=list(GenerationMode), generation_config=_GENERATION
    )
    for case in at_bounds:
        yield case, feed_path


def run(world: World) -> Report:
    """Ask for everything that the instance describes."""
    load_all_checks()
    checks = CHECKS.get_by_names(list(CHECKED))
    patient = CHECKS.get_by_names([name for name in CHECKED if name != "not_a_server_error"])
    config = SchemathesisConfig(seed=1)
    config.projects.default.generation = _GENERATION
    config.projects.default.checks.negative_data_rejection.expected_statuses = list(_REFUSALS)
    schema = schemathesis.openapi.from_url(f"{world.url}/api/openapi.json", config=config)
    report = Report()
    for found in schema.get_all_operations():
        operation = found.ok()
        for case, feed in plan(operation):
            feed(case, world)
            report.add(case, world, patient if feed is feed_away and operation.label in AWAY else checks)
    return report
