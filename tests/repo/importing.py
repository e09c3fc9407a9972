"""Imports each module that it is given as if it were the first one: one interpreter, a clean module table for each.

What is third-party stays imported. Where a module lies and what it compiles to is looked up once, which is most of what
an import costs.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType

OURS = "mosaicfs"
specs: dict[str, ModuleSpec | None] = {}
codes: dict[str, CodeType | None] = {}
finders = list(sys.meta_path)
compiled = SourceFileLoader.get_code


class Finder:
    """Remembers where our modules lie."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith(OURS):
            return None
        if name not in specs:
            found = (finder.find_spec(name, path, None) for finder in finders)
            specs[name] = next((spec for spec in found if spec is not None), None)
        return specs[name]


def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
    """Remembers what our modules compile to."""
    if not name.startswith(OURS):
        return compiled(loader, name)
    if name not in codes:
        codes[name] = compiled(loader, name)
    return codes[name]


sys.meta_path.insert(0, Finder)
SourceFileLoader.get_code = get_code
for wanted in sys.argv[1:]:
    for loaded in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[loaded]
    importlib.import_module(wanted)
