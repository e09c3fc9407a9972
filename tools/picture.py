"""Draw ``docs/session.svg``: run a few commands against a running instance and render what they print.

Start an instance first (``mosaicfs up``), with its home in ``$MOSAICFS_HOME`` or the default place; then
``python tools/picture.py COMMAND…``, each command one argument, run by the shell in the current directory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "session.svg"
WIDTH = 92


def main(commands: list[str]) -> int:
    """Run, record, draw; fails with the first command that fails."""
    # The recording goes to nowhere else: what people see of this tool is the picture.
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        for command in commands:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            environment = {**os.environ, "COLUMNS": str(WIDTH)}
            ran = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
            if ran.returncode:
                print(ran.stderr, file=sys.stderr)
                return ran.returncode
            console.print(Text.from_ansi(ran.stdout.rstrip("\n") + "\n"), soft_wrap=False)
        # rich's drawing fetches its font from elsewhere; ours takes what the reader's machine has.
        drawing = re.sub(
            r',\s*url\("https://[^"]*"\) format\("[a-z0-9]+"\)', "", console.export_svg(title="MosaicFS", theme=MONOKAI)
        )
        PICTURE.write_text(drawing)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
