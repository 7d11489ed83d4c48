"""Where a service's counters lie, and whether that place is safe: nobody else may write there, and no link may lead elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: counters stay in the memory of each process
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = "this platform has no file locks"

REMEDY = 'Set MONITORING["STATE_DIR"] to a folder that only this service\'s user can write to.'


class FolderError(OSError):
    """Counters cannot be kept in this folder; the message says why and what to do."""


def default_folder(project_dir: str, service_name: str) -> Path:
    """The folder of a user's, project's and service's counters where no setting names one: under the user's state folder
    (XDG Base Directory), or under the temporary one for a user without a home that can be written to.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", service_name)[:40].strip("-")
    digest = hashlib.sha256(f"{project_dir}\0{service_name}".encode(errors="surrogateescape")).hexdigest()[:12]
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path(os.path.expanduser("~")) / ".local" / "state"
    if not _can_be_made(base):
        user = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
        return Path(tempfile.gettempdir()) / f"django-monitoring-{user}" / f"{slug}-{digest}"
    return base / "django-monitoring" / f"{slug}-{digest}"


def prepare(folder: Path) -> None:
    """Make the folder. Raises FolderError where it cannot serve, another OSError where it cannot be made."""
    if fcntl is None:
        raise FolderError(_NO_LOCKS)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _refuse_open_to_others(folder)


def _refuse_open_to_others(folder: Path) -> None:
    """Raises FolderError where others can write to the folder, or where it is a link planted for us."""
    own_parent = folder.parent.name.startswith("django-monitoring") and os.path.lexists(folder.parent)
    for part in (folder, folder.parent) if own_parent else (folder,):
        found = os.lstat(part)
        if not stat.S_ISDIR(found.st_mode):
            raise FolderError(f"{part} is a link or no folder. {REMEDY}")
        if found.st_uid != os.geteuid():
            raise FolderError(f"{part} belongs to another user. {REMEDY}")
        if found.st_mode & 0o022:
            raise FolderError(f"{part} can be written to by other users. {REMEDY}")


def problem(folder: Path) -> str | None:
    """Why this folder cannot serve, as far as that can be told without making it; None where it can."""
    if fcntl is None:
        return _NO_LOCKS
    try:
        if os.path.lexists(folder):
            _refuse_open_to_others(folder)
            if not _may(folder, os.R_OK | os.W_OK | os.X_OK):
                return f"{folder} cannot be written to. {REMEDY}"
        elif not _can_be_made(folder):
            return f"{folder} cannot be made. {REMEDY}"
    except OSError as error:
        return str(error)
    return None


def _can_be_made(path: Path) -> bool:
    while not os.path.exists(path) and path != path.parent:  # not Path.exists(), which raises where a folder may not be searched
        path = path.parent
    return os.path.isdir(path) and _may(path, os.W_OK | os.X_OK)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
