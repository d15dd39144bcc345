"""Reading and writing text files, with errors a user can act on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from minifold.errors import BadInput


def read_text(path: str | Path) -> str:
    """The text of a file.

    Raises:
        BadInput: it is missing, a folder, unreadable, or not text.
    """
    path = Path(path)
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give a file")
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; check the name") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not a text file; unpack it if it is compressed") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def write_text(path: str | Path, text: str) -> None:
    """``write_bytes`` of the text in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file so that it is either complete or not there: temporary name, then rename.

    Raises:
        BadInput: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):  # the folder itself may be a file
            temporary.unlink(missing_ok=True)
