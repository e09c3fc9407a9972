"""The folders a user asks for: refused with the way out before anything starts, and never indexed twice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.cli.sample import write_sample
from mosaicfs_core.content.watchable import check_watch_paths
from mosaicfs_core.documents import paths
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.first_instances import add_roots


def test_good_folders_become_export_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    home = Home(tmp_path / "home")
    assert check_watch_paths(["a", "~/a", str(tmp_path / "a") + "/"], home, None) == [str(tmp_path / "a")] * 3


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_path_is_not_the_current_directory(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="is no path"):
        check_watch_paths([text], Home(tmp_path / "home"), None)


def test_a_nul_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a NUL"):
        check_watch_paths([f"{tmp_path}/a\0b"], Home(tmp_path / "home"), None)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems show themselves otherwise")
@pytest.mark.parametrize("text", ["/proc", "/proc/self/fd", "/sys/class", "/dev", "link"])
def test_where_the_system_shows_itself_there_are_no_files(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("/proc/self")
    with pytest.raises(UserError, match="where the system shows itself and keeps no files"):
        check_watch_paths([text], Home(tmp_path / "home"), None)


def test_every_wrong_folder_is_named_with_its_reason(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    (tmp_path / "file").write_text("x")
    mount = tmp_path / "mnt"
    (mount / "inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to(mount)
    given_paths = ["missing", "file", "mnt", "mnt/inside", "link", "home", "home/run"]
    with pytest.raises(UserError) as caught:
        check_watch_paths([str(tmp_path / name) for name in given_paths], home, mount)
    reasons = caught.value.message.split("; ")
    assert len(reasons) == len(given_paths)
    for reason, word in zip(reasons, ("exist", "is a file", "mount", "mount", "mount", "home", "home"), strict=True):
        assert word in reason


def test_the_others_are_named_so_that_one_can_go_on(tmp_path: Path) -> None:
    for name in ("Documents", "my notes"):
        (tmp_path / name).mkdir()
    given_paths = [str(tmp_path / name) for name in ("Documents", "Pictures", "my notes")]
    with pytest.raises(UserError) as caught:
        check_watch_paths(given_paths, Home(tmp_path / "home"), None)
    assert caught.value.message == (
        f"{tmp_path}/Pictures does not exist: create it, or name another folder. Nothing was changed; to go on now, "
        f"name the others alone: {tmp_path}/Documents '{tmp_path}/my notes'"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UserError, match="permissions"):
        check_watch_paths([str(tmp_path / "closed")], Home(tmp_path / "home"), None)


def test_the_sample_lies_in_the_home_and_may_be_indexed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    sample = write_sample(home.path / "sample", now=1_800_000_000)
    assert check_watch_paths([str(sample)], home, home.path / "mnt") == [str(sample)]
    files = [path for path in sample.rglob("*") if path.is_file()]
    assert len(files) >= 12
    before = {path: path.stat().st_mtime_ns for path in files}
    write_sample(sample)
    assert {path: path.stat().st_mtime_ns for path in files} == before


names = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(names, max_size=6), st.lists(names, max_size=6))
def test_added_roots_cover_all_and_overlap_nowhere(present: list[str], new: list[str]) -> None:
    roots = add_roots(present, new)
    for wanted in [*present, *new]:
        assert any(paths.is_under(wanted, root) for root in roots)
    for root in roots:
        assert not any(other != root and paths.is_under(root, other) for other in roots)
    assert add_roots(roots, new) == roots
