"""Small numbers for node ids, MIME types and directories, and the counts of files per directory."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable

import msgspec

from ..documents.paths import parent_of
from .statements import run_rows

CACHED_DIRECTORIES = 4_096


class NumberCache:
    """Reads numbers and names; remembers nodes, MIME types and the directories last used. Serves one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._node_ids: dict[int, str] = {}
        self._mime_types: dict[int, str] = {}
        self._paths: dict[int, tuple[str, str]] = {}

    def node_id(self, number: int) -> str:
        found = self._node_ids.get(number)
        if found is None:
            found = self.connection.execute("SELECT node_id FROM nodes WHERE node = ?", (number,)).fetchone()[0]
            self._node_ids[number] = found
        return found

    def mime_type(self, number: int) -> str:
        found = self._mime_types.get(number)
        if found is None:
            found = self.connection.execute("SELECT name FROM mimes WHERE mime = ?", (number,)).fetchone()[0]
            self._mime_types[number] = found
        return found

    def directory_path(self, number: int) -> tuple[str, str]:
        """Node id and path of a directory. Directories keep their number for ever, so this never goes stale."""
        found = self._paths.get(number)
        if found is None:
            row = self.connection.execute("SELECT node, path FROM directories WHERE dir = ?", (number,)).fetchone()
            found = (self.node_id(row[0]), row[1])
            if len(self._paths) >= CACHED_DIRECTORIES:
                self._paths.clear()
            self._paths[number] = found
        return found

    def forget(self) -> None:
        """Drop what is remembered: numbers given out in a transaction that was rolled back are void."""
        self._node_ids.clear()
        self._mime_types.clear()
        self._paths.clear()


class Numbering(NumberCache):
    """The writer's side: gives new numbers, and keeps the counts of files per directory exact."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._nodes: dict[str, int] = {}
        self._mimes: dict[str, int] = {}
        self._directories: dict[tuple[str, str], int] = {}
        self._parents: dict[int, int | None] = {}
        self._direct: defaultdict[int, int] = defaultdict(int)
        self._last_directory: int | None = None

    def forget(self) -> None:
        super().forget()
        for cache in (self._nodes, self._mimes, self._directories, self._parents, self._direct):
            cache.clear()
        self._last_directory = None

    def node(self, node_id: str) -> int:
        number = self._nodes.get(node_id)
        if number is None:
            number = self._number(
                "SELECT node FROM nodes WHERE node_id = ?", "INSERT INTO nodes(node_id) VALUES(?)", node_id
            )
            self._nodes[node_id] = number
        return number

    def mime(self, name: str) -> int:
        number = self._mimes.get(name)
        if number is None:
            number = self._number("SELECT mime FROM mimes WHERE name = ?", "INSERT INTO mimes(name) VALUES(?)", name)
            self._mimes[name] = number
        return number

    def _number(self, select: str, insert: str, text: str) -> int:
        row = self.connection.execute(select, (text,)).fetchone()
        if row is not None:
            return int(row[0])
        return int(self.connection.execute(insert, (text,)).lastrowid or 0)

    def directory(self, node_id: str, path: str) -> int:
        """The number of a directory, which is created with its ancestors when it is new."""
        number = self._directories.get((node_id, path))
        if number is None:
            self.learn({(node_id, path)})
            number = self._directories[node_id, path]
        return number

    def learn(self, places: Iterable[tuple[str, str]]) -> None:
        """Have the numbers of these directories (node id, path) at hand, those of new ones with their ancestors."""
        if len(self._directories) >= CACHED_DIRECTORIES:
            self._directories.clear()
            self._parents.clear()
        absent: defaultdict[str, set[str]] = defaultdict(set)
        for node_id, path in places:
            while (node_id, path) not in self._directories and path not in absent[node_id]:
                absent[node_id].add(path)
                if path == "/":
                    break
                path = parent_of(path)
        for node_id, missing in absent.items():
            if missing:
                self._create(node_id, missing - self._load(node_id, missing))

    def _load(self, node_id: str, wanted: Collection[str]) -> set[str]:
        """Remember those of a node's directories that exist; returns their paths."""
        sql = """SELECT x.path, x.dir, x.parent FROM json_each(?) AS wanted CROSS JOIN directories x
            ON x.node = ? AND x.path = wanted.value"""
        found = set()
        for path, number, parent in self.connection.execute(sql, (_json(wanted), self.node(node_id))):
            self._directories[node_id, path] = number
            self._parents[number] = parent
            found.add(path)
        return found

    def _create(self, node_id: str, paths: Iterable[str]) -> None:
        """Give numbers to new directories; an ancestor comes before what is in it, as it does in the order of text."""
        node, rows = self.node(node_id), []
        for path in sorted(paths):
            if self._last_directory is None:
                self._last_directory = self.connection.execute("SELECT max(dir) FROM directories").fetchone()[0] or 0
            self._last_directory += 1
            parent = None if path == "/" else self._directories[node_id, parent_of(path)]
            self._directories[node_id, path] = self._last_directory
            self._parents[self._last_directory] = parent
            rows.append((self._last_directory, node, parent, path))
        run_rows(self.connection, "INSERT INTO directories(dir, node, parent, path) VALUES ", rows)

    def _parent(self, number: int) -> int | None:
        if number not in self._parents:
            sql = "SELECT parent FROM directories WHERE dir = ?"
            self._parents[number] = self.connection.execute(sql, (number,)).fetchone()[0]
        return self._parents[number]

    def count(self, directory: int, difference: int) -> None:
        """Note that a directory directly holds so many more shown files."""
        self._direct[directory] += difference

    def write_counts(self) -> None:
        """Write what ``count`` has gathered, to the directories and all above them."""
        if not self._direct:
            return
        below: defaultdict[int, int] = defaultdict(int)
        for directory, difference in self._direct.items():
            number: int | None = directory if difference else None
            while number is not None:
                below[number] += difference
                number = self._parent(number)
        changed = [(number, self._direct.get(number, 0), difference) for number, difference in below.items()]
        head = "UPDATE directories SET direct = direct + v.column2, below = below + v.column3 FROM (VALUES "
        run_rows(self.connection, head, changed, ") AS v WHERE dir = v.column1")
        self._direct.clear()


def _json(texts: Collection[str]) -> str:
    return msgspec.json.encode(list(texts)).decode()
