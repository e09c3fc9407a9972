"""Which export paths are whose: each instance that provides a filesystem has a prefix of its own, each other one the
folders that it watches, and none lies among those of another, so that no source can take another's files for gone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mosaicfs_core.content.roots import watch_roots
from mosaicfs_core.documents.instances import package_of
from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.hooks import PluginManifest
from mosaicfs_core.plugins.places import Places

ManifestOf: TypeAlias = Callable[[str], PluginManifest | None]
"""The manifest of a package by its name, None when it is not known."""


def own_prefix(document: Mapping[str, Any], manifest: PluginManifest | None) -> str:
    """The prefix of an instance that provides a filesystem, "" of others."""
    provides = document.get("provides_filesystem") or (manifest is not None and manifest.provides_filesystem)
    return str(document.get("file_path_prefix") or f"/{document['plugin_name']}") if provides else ""


def own_folders(document: Mapping[str, Any], manifest: PluginManifest | None) -> tuple[str, ...]:
    """The folders that an instance watches, of which its document says the setting, else the manifest."""
    watches = document.get("watches") or (manifest.watches if manifest is not None else None)
    return watch_roots([{**document, "watches": watches}], str(document["node_id"]))


def tombstone_of(document: Mapping[str, Any], manifest: PluginManifest | None) -> dict[str, Any]:
    """What is left of the document of an instance that is removed: whose it was, and where its files were."""
    kept = {key: document[key] for key in ("_id", "type", "node_id", "plugin_name")}
    places = {"prefix": own_prefix(document, manifest), "folders": list(own_folders(document, manifest))}
    return {**kept, "places": places, "_deleted": True}


def removed_places(name: str, tombstone: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The prefix and the folders of an instance that was removed; the usual prefix of one whose tombstone, by another
    hand, does not tell."""
    places = tombstone.get("places")
    told = places if isinstance(places, dict) else {}
    prefix, folders = told.get("prefix"), told.get("folders")
    return (
        prefix if isinstance(prefix, str) and prefix.startswith("/") else f"/{name}",
        [path for path in folders if isinstance(path, str)] if isinstance(folders, list) else [],
    )


def places_of(documents: Sequence[Mapping[str, Any]], manifest_of: ManifestOf) -> dict[str, Places]:
    """Where the files of each of a node's instances lie, by name; those that are switched off count."""
    folders = {str(one["plugin_name"]): own_folders(one, manifest_of(package_of(one))) for one in documents}
    found: dict[str, Places] = {}
    for document in documents:
        name, prefix = str(document["plugin_name"]), own_prefix(document, manifest_of(package_of(document)))
        others = tuple(path for other, paths in folders.items() if other != name for path in paths)
        found[name] = Places((prefix,), others, on_disk=False) if prefix else Places(folders[name], others)
    return found


def clashes(documents: Iterable[Mapping[str, Any]], manifest_of: ManifestOf) -> dict[str, str]:
    """Which of a node's instances cannot have their prefixes or folders, and why, by name. Of two the one made first
    keeps what is its own, and folders go before prefixes; those that are switched off count, since their files stay
    indexed."""
    made = sorted(documents, key=lambda document: (str(document.get("created_at")), str(document["plugin_name"])))
    taken: list[tuple[str, str]] = []
    found: dict[str, str] = {}
    for wish in [*_folder_wishes(made, manifest_of), *_prefix_wishes(made, manifest_of)]:
        clash = _clash(wish.paths, taken)
        if clash is None:
            taken += [(path, wish.what.format(path)) for path in wish.paths]
        else:
            path, what = clash
            found[wish.name] = f"the files of {wish.name} would be at {path}, which overlaps {what}: {wish.advice}"
    return found


class _Wish(NamedTuple):
    """The paths that an instance is to have, what each is to people, and what helps when it cannot have them."""

    name: str
    paths: tuple[str, ...]
    what: str
    advice: str


def _folder_wishes(documents: Iterable[Mapping[str, Any]], manifest_of: ManifestOf) -> Iterator[_Wish]:
    for document in documents:
        name, folders = str(document["plugin_name"]), own_folders(document, manifest_of(package_of(document)))
        yield _Wish(name, folders, f"the watched folder {{}} of {name}", "let only one instance watch it")


def _prefix_wishes(documents: Iterable[Mapping[str, Any]], manifest_of: ManifestOf) -> Iterator[_Wish]:
    for document in documents:
        name, prefix = str(document["plugin_name"]), own_prefix(document, manifest_of(package_of(document)))
        if prefix:
            yield _Wish(name, (prefix,), f"{{}}, where the files of {name} are", "use an instance of another name")


def _clash(wanted: Sequence[str], taken: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first of the paths that lies among those that are taken, or above one, and what that is. A machine may have a
    thousand folders, and each change of an instance asks for all of them."""
    beginnings = tuple(f"{path.rstrip('/')}/" for path, _ in taken)
    in_order = sorted(beginnings)
    for path in wanted:
        mine = f"{path.rstrip('/')}/"
        beneath = bisect_left(in_order, mine)
        if mine.startswith(beginnings) or (beneath < len(in_order) and in_order[beneath].startswith(mine)):
            return next((path, what) for other, what in taken if _overlap(path, other))
    return None


def _overlap(one: str, other: str) -> bool:
    return is_under(one, other) or is_under(other, one)
