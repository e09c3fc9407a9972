"""The repository keeps its promises about itself: its top level, its dependency rules, its licence and its language."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ["mosaicfs_core", "vfs", "mosaicfs_plugins", "mosaicfs_fulltext", "mosaicfs_bridge_email"]
TOP_LEVEL = {*MEMBERS, "tests", "docs", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".ci"}
SOURCES = [path for member in MEMBERS for path in sorted((ROOT / member / "src").rglob("*.py"))]


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


def test_the_top_level_has_what_the_design_names() -> None:
    assert {path.name for path in ROOT.iterdir()} >= TOP_LEVEL


@pytest.mark.parametrize("member", MEMBERS)
def test_each_distribution_declares_what_it_imports(member: str) -> None:
    """A wheel installed alone must bring all it imports at run time (the standard library and its extras aside)."""
    project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    extras = [name for group in project.get("optional-dependencies", {}).values() for name in group]
    declared = {re.split(r"[\[<>=! ]", name)[0].replace("-", "_") for name in project["dependencies"] + extras}
    module_of = {"google_re2": "re2", "importlib_metadata": "importlib_metadata", "argon2_cffi": "argon2"}
    allowed = {module_of.get(name, name) for name in declared} | set(sys.stdlib_module_names)
    own = next((ROOT / member / "src").iterdir()).name
    # The conformance kit runs under its user's pytest.
    allowed |= {own, "pytest", "pytest_asyncio"}
    for path in (ROOT / member / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}, undeclared"


def test_every_module_imports_alone() -> None:
    """No module may rely on another having been imported first."""
    names = []
    for path in SOURCES:
        parts = path.with_suffix("").parts
        dotted = ".".join(parts[parts.index("src") + 1 :]).removesuffix(".__init__")
        if not dotted.endswith("__main__"):
            names.append(dotted)
    importing = Path(__file__).with_name("importing.py")
    ran = subprocess.run([sys.executable, "-W", "error", str(importing), *names], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_no_field_ends_its_pattern_with_a_bare_dollar() -> None:
    """In Python it lets a newline through (``documents.patterns``)."""
    for path in SOURCES:
        found = re.search(r"""(?:Meta\(\s*pattern=|["']pattern["']:\s*).*?\$["']\s*[,)}\n]""", path.read_text())
        assert not found, f"{path.relative_to(ROOT)} says {found.group()!r}"


def test_our_plugins_say_the_version_of_their_distribution() -> None:
    """It is written once, in the distribution's ``pyproject.toml``."""
    ours = {found.name: found for found in entry_points(group="mosaicfs") if found.module.startswith("mosaicfs_")}
    assert len(ours) > len(MEMBERS)
    for found in ours.values():
        assert found.dist is not None
        assert found.load().mosaicfs_manifest().version == found.dist.version
        assert not re.search(r"version=.\d", Path(found.load().__file__).read_text()), f"{found.name} has its own"


def test_the_core_names_no_source_of_files() -> None:
    """What it must know of a plugin, the plugin's manifest says."""
    for path in (ROOT / "mosaicfs_core" / "src").rglob("*.py"):
        assert "localfs" not in path.read_text(), f"{path.relative_to(ROOT)} knows a plugin by its name"


def test_the_repository_speaks_of_the_project_alone() -> None:
    """No machine paths, registry hosts or work orders in anything that is shipped."""
    # With brackets, so that this file does not find itself.
    unwanted = re.compile(r"/roo[t]/|/wor[k]/main|pyp[i]\.org|registr[y]\.npmjs|\bissu[e] #?\d|\bTO[D]O\b|\bFIXM[E]\b")
    for path in tracked_files():
        if path.suffix in {".png", ".ico", ".woff2"} or path.name == "LICENSE":
            continue
        found = unwanted.search(path.read_text(errors="replace"))
        assert not found, f"{path.relative_to(ROOT)} says {found.group()!r}"


def test_ci_runs_the_readme_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make up" in (ROOT / "README.md").read_text()
