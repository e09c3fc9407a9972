"""What is indexed when nobody named a folder."""

from __future__ import annotations

import os
from pathlib import Path

from mosaicfs_core.content.watchable import SAMPLE
from mosaicfs_core.home import Home


def default_root(home: Home) -> tuple[str, str]:
    """What to index when nobody said (the user's documents, or a sample tree made in the home), and what to say."""
    documents = Path.home() / "Documents"
    if documents.is_dir() and os.access(documents, os.R_OK | os.X_OK) and any(documents.iterdir()):
        return str(documents), f"No folder given: indexing {documents}"
    from mosaicfs_core.cli.sample import write_sample

    sample = write_sample(home.path / SAMPLE)
    return str(sample), f"No folder given: indexing a small sample tree in {sample}"
