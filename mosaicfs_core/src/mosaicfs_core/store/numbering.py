"""Small numbers for node ids, MIME types and directories, and the counts of files per directory."""

from __future__ import annotations

import sqlite3
from collections import defaultdict

from ..documents.paths import parent_of
from .statements import run_rows

CACHED_DIRECTORIES = 8_192


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

    def forget(self) -> None:
        super().forget()
        for cache in (self._nodes, self._mimes, self._directories, self._parents, self._direct):
            cache.clear()

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
        if number is not None:
            return number
        if len(self._directories) >= CACHED_DIRECTORIES:
            self._directories.clear()
            self._parents.clear()
        absent = []
        while number is None:
            number = self._known_directory(node_id, path)
            if number is None:
                absent.append(path)
                if path == "/":
                    break
                path = parent_of(path)
        for path in reversed(absent):
            number = self._create_directory(node_id, path, number)
        assert number is not None
        return number

    def _known_directory(self, node_id: str, path: str) -> int | None:
        number = self._directories.get((node_id, path))
        if number is None:
            sql = "SELECT dir, parent FROM directories WHERE node = ? AND path = ?"
            row = self.connection.execute(sql, (self.node(node_id), path)).fetchone()
            if row is not None:
                number, self._parents[row[0]] = row
                self._directories[node_id, path] = row[0]
        return number

    def _create_directory(self, node_id: str, path: str, parent: int | None) -> int:
        sql = "INSERT INTO directories(node, parent, path) VALUES(?, ?, ?)"
        number = int(self.connection.execute(sql, (self.node(node_id), parent, path)).lastrowid or 0)
        self._parents[number] = parent
        self._directories[node_id, path] = number
        return number

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
