"""The replica: an embedded document store in one SQLite file that speaks CouchDB's data model."""

from .entries import Entry
from .intake import Prepared
from .observing import FileWrite, Observer
from .reader import Reader
from .records import BulkResult, Change, ChangeRow, DirRow, FileBatch, FileRow, Identity, StoreInfo
from .store import Store
from .transaction import WriteTransaction

__all__ = [
    "BulkResult",
    "Change",
    "ChangeRow",
    "DirRow",
    "Entry",
    "FileBatch",
    "FileRow",
    "FileWrite",
    "Identity",
    "Observer",
    "Prepared",
    "Reader",
    "Store",
    "StoreInfo",
    "WriteTransaction",
]
