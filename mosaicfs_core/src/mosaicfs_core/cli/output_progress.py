"""A progress bar on standard error (apart from ``output``, since rich's is slow to import)."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class BarProgress:
    """A bar for ``total`` steps, or a moving one when the total is unknown."""

    def __init__(self, label: str, total: int | None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(label, total=total)

    def __enter__(self) -> BarProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, amount: int = 1) -> None:
        """Count ``amount`` more steps."""
        self._progress.advance(self._task, amount)

    def update(self, done: int, total: int | None = None) -> None:
        """Set how many steps are done, and the total when it became known."""
        self._progress.update(self._task, completed=done, total=total)
