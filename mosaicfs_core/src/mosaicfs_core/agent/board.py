"""What the agent knows of itself: figures, problems and errors, and the ``agent_status`` document made of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mosaicfs_core.agent.indexer import Report
from mosaicfs_core.documents import ids, times
from mosaicfs_core.hooks import Problem
from mosaicfs_core.plugins.host import PluginFailure

KEPT_PROBLEMS: Final = 200
"""Problems of one instance that are kept by name; more are only counted."""
KEPT_ERRORS: Final = 50


class CrawlState(msgspec.Struct):
    """One instance's latest crawl. Times are microseconds."""

    running: bool = False
    trigger: str = ""
    started: int = 0
    finished: int | None = None
    error: str | None = None
    report: Report = msgspec.field(default_factory=Report)


class Board:
    """The state of all instances of a node. Lives on the agent's event loop."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self.crawls: dict[str, CrawlState] = {}
        self.watching: dict[str, str] = {}
        self.running: dict[str, str] = {}
        self.expected = 0
        self._problems: dict[str, dict[tuple[str, str], Problem]] = {}
        self._fresh: dict[str, dict[tuple[str, str], Problem]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._errors: deque[dict[str, str]] = deque(maxlen=KEPT_ERRORS)

    # What happens.

    def crawl_began(self, instance: str, trigger: str, whole: bool, expected: int) -> CrawlState:
        """A crawl starts; ``whole`` when it looks at everything, so that old problems fall away at its end."""
        state = CrawlState(running=True, trigger=trigger, started=times.now_micros())
        self.crawls[instance] = state
        self.expected = expected
        if whole:
            self._fresh[instance] = {}
        return state

    def crawl_ended(self, instance: str, error: str | None, *, complete: bool = True) -> None:
        """A crawl ended: well, with an error, or before it had looked at everything."""
        state = self.crawls[instance]
        state.running, state.finished, state.error = False, times.now_micros(), error
        fresh = self._fresh.pop(instance, None)
        if fresh is not None and error is None and complete:
            kept = {key: problem for key, problem in self._of(instance).items() if problem.kind == "watch"}
            for key, problem in self._of(instance).items():
                if key not in fresh and key not in kept:
                    self._take_back(problem)
            self._problems[instance] = {**kept, **fresh}
            self._counts[instance] = dict(state.report.problems)
        if error is not None:
            self.error("crawler", f"{instance}: {error}")

    def problem(self, instance: str, problem: Problem) -> None:
        """A crawl or a watcher reports something; ``resolved`` takes it back."""
        if problem.kind == "info":
            return
        key = (problem.kind, problem.export_path)
        for problems in (self._of(instance), self._fresh.get(instance)):
            if problems is None:
                continue
            if problem.resolved:
                self._take_back(problem)
                problems.pop(key, None)
            elif key in problems or len(problems) < KEPT_PROBLEMS or problem.kind == "inaccessible":
                problems[key] = problem
        if problem.kind in ("inaccessible", "watch") and not problem.resolved:
            self.error("crawler", f"{problem.export_path}: {problem.message}", level="warning")

    def error(self, subsystem: str, message: str, level: str = "error") -> None:
        """Keep an error; the same one again only counts when another came in between."""
        if self._errors and self._errors[-1]["message"] == message:
            return
        now = times.format_time(times.now_micros())
        self._errors.append({"time": now, "subsystem": subsystem, "level": level, "message": message})

    def _take_back(self, problem: Problem) -> None:
        """A problem is none any more: what was said of its path is not a recent error either."""
        said = f"{problem.export_path}: "
        kept = [
            error for error in self._errors if not (error["level"] == "warning" and error["message"].startswith(said))
        ]
        self._errors = deque(kept, maxlen=KEPT_ERRORS)

    def forget(self, instance: str) -> None:
        """An instance is gone."""
        for problem in self._of(instance).values():
            self._take_back(problem)
        for known in (self.crawls, self.watching, self.running, self._problems, self._fresh, self._counts):
            known.pop(instance, None)

    def _of(self, instance: str) -> dict[tuple[str, str], Problem]:
        return self._problems.setdefault(instance, {})

    # What is told.

    def problems(self) -> list[Problem]:
        """All that is wrong or left out now."""
        return [problem for problems in self._problems.values() for problem in problems.values()]

    def problems_of(self, instance: str) -> list[Problem]:
        """What is wrong or left out now of one instance, as far as it is kept."""
        return list(self._problems.get(instance, {}).values())

    def document(
        self,
        plugins: Sequence[Mapping[str, Any]],
        failed: Mapping[str, str],
        held_back: Mapping[str, str],
        failing: Mapping[str, str],
        beside: Mapping[str, Mapping[str, Any]],
        reports: Mapping[str, Mapping[str, Any]],
        failures: Sequence[PluginFailure],
        missing: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The ``agent_status`` document, without ``_rev``. ``plugins`` describes packages, ``failed`` maps instances
        that cannot run to the reason, ``held_back`` those that do not run because somebody wants it so to a word for
        that, ``failing`` long-lived tasks to what ended them last, ``beside`` are further subsystems as they stand in
        the document, ``reports`` what instances say of themselves, ``failures`` those of hooks in this
        process, ``missing`` those of ``failed`` whose package is not installed."""
        subsystems = {
            "crawler": self._crawler(),
            "watcher": self._watcher(reports),
            "plugins": {**_plugins(plugins, failed, held_back), "missing": sorted(missing)},
            "instances": self._reported(reports),
            "tasks": {"status": "degraded" if failing else "healthy", "detail": _listed(failing)},
            **{name: dict(part) for name, part in beside.items()},
        }
        states = {part["status"] for part in subsystems.values()}
        overall = "unhealthy" if "unhealthy" in states else "degraded" if "degraded" in states else "healthy"
        return {
            "_id": ids.status_document_id(self._node_id),
            "type": "agent_status",
            "node_id": self._node_id,
            "updated_at": times.format_time(times.now_micros()),
            "overall": overall,
            "subsystems": subsystems,
            "available_plugins": [dict(plugin) for plugin in plugins],
            "recent_errors": self._recent(failures),
            "watch_state": {"unwatched": [problem.export_path for problem in self._kind("watch")]},
        }

    def _recent(self, failures: Sequence[PluginFailure]) -> list[dict[str, str]]:
        """The last errors, oldest first: those kept here, and failures of plugins that are not among them already."""
        latest = {failure.message: failure for failure in failures}
        untold = [
            {
                "time": times.format_time(int(failure.at * 1e6)),
                "subsystem": "plugins",
                "level": "error",
                "message": failure.message,
            }
            for failure in latest.values()
            if not any(failure.message in error["message"] for error in self._errors)
        ]
        return sorted([*self._errors, *untold], key=lambda error: error["time"])[-KEPT_ERRORS:]

    def _reported(self, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What instances say of themselves, and which of them do not run as they should."""
        stopped = {name: reason for name, reason in self.running.items() if reason}
        states = {report["status"] for report in reports.values()} | ({"degraded"} if stopped else set())
        said = {name: report["detail"] for name, report in reports.items() if report["status"] != "healthy"}
        return {
            "status": next((state for state in ("unhealthy", "degraded") if state in states), "healthy"),
            "detail": _listed({**said, **stopped}),
            "reports": {name: dict(report) for name, report in sorted(reports.items())},
        }

    def _kind(self, kind: str) -> list[Problem]:
        return [problem for problem in self.problems() if problem.kind == kind]

    def _crawler(self) -> dict[str, Any]:
        states = self.crawls.values()
        running = any(state.running for state in states)
        failed = [f"{name}: {state.error}" for name, state in self.crawls.items() if state.error]
        inaccessible = [f"{problem.export_path}: {problem.message}" for problem in self._kind("inaccessible")]
        finished = [state.finished for state in states if state.finished is not None]
        detail = "; ".join(failed + inaccessible) or ("crawling" if running else "")
        return {
            "status": "degraded" if failed or inaccessible else "healthy",
            "detail": detail,
            "running": running,
            "crawling": [
                {
                    "instance": name,
                    "started_at": times.format_time(state.started),
                    "files_seen": state.report.seen,
                }
                for name, state in sorted(self.crawls.items())
                if state.running
            ],
            "files_seen": sum(state.report.seen for state in states),
            "files_total": self.expected or None,
            "files_written": sum(state.report.written for state in states),
            "files_moved": sum(state.report.moved for state in states),
            "files_deleted": sum(state.report.deleted for state in states),
            "last_crawl": times.format_time(max(finished)) if finished else None,
            "counts": self._left_out(),
            "failed": failed,
            "inaccessible": inaccessible,
            "problems": [
                {
                    "kind": problem.kind,
                    "export_path": problem.export_path,
                    "message": problem.message,
                    "count": problem.count,
                }
                for problem in self.problems()[:KEPT_PROBLEMS]
            ],
        }

    def _left_out(self) -> dict[str, int]:
        """How much was left out, by kind."""
        total: Counter[str] = Counter()
        for name, state in self.crawls.items():
            # A crawl of a part says nothing of the rest: the figures are those of the last whole one.
            total.update(self._counts.get(name, state.report.problems))
        unreadable = len(self._kind("unreadable"))
        if unreadable < KEPT_PROBLEMS:  # each is known by its name, what a watcher met since included
            total["unreadable"] = unreadable
        return {kind: count for kind, count in total.items() if count}

    def _watcher(self, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        stopped = {name: state for name, state in self.watching.items() if state}
        unwatched = self._kind("watch")
        detail = [f"{name}: {reason}" for name, reason in sorted(stopped.items())]
        if unwatched:
            detail.append(f"{len(unwatched)} folders cannot be watched and are polled")
        # A figure of the plugin's own: what is no number says nothing.
        told = [reports[name].get("waiting") for name in self.watching if name in reports]
        waiting = sum(number for number in told if isinstance(number, int) and number > 0)
        busy = [f"{waiting:,} changes wait to be indexed"] if waiting else []
        return {
            "status": "degraded" if detail else "healthy",
            "detail": "; ".join(detail + busy),
            "waiting": waiting,
            "instances": sorted(name for name, state in self.watching.items() if not state),
            "unwatched": len(unwatched),
        }


def _plugins(
    plugins: Sequence[Mapping[str, Any]], failed: Mapping[str, str], held_back: Mapping[str, str]
) -> dict[str, Any]:
    """Which packages could not be loaded, which instances cannot run, and which are not to."""
    broken = {str(plugin["name"]): str(plugin["error"]) for plugin in plugins if plugin["status"] == "failed"}
    wrong = {**broken, **failed}
    return {
        "status": "degraded" if wrong else "healthy",
        "detail": "; ".join(filter(None, (_listed(wrong), _listed(held_back)))),
        "held_back": dict(sorted(held_back.items())),
    }


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
