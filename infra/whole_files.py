"""Small files of the state folder, each written whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Put a file in the place of the one before: whoever reads it, also after a crash, sees one of the two. Makes its folder.

    Any number of processes may write it at once; the last one's stays.

    Raises:
        OSError: it could not be written, as on a full disk; the one before stays and nothing else is left.

    """
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        written.write_text(text, "utf-8")
        written.replace(file)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
