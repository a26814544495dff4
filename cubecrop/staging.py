"""Hidden folders next to a path, in which its future content is made.

A hidden folder is called ``.NAME.0.part``, with a higher number if several processes write the
same path at once. Its file ``owner`` names the machine that made it, and is locked while the
process lives. The lock shows whether a folder is a leftover of a killed process. On other machines
(a shared disk may not share locks), and on systems without locks, its age must show it too.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["remove_leftovers", "remove_leftovers_in", "staging_for"]

_OWNER: Final = "owner"
_PLACE: Final = re.compile(r"\..+\.\d+\.part")
#: A folder of another machine is a leftover if nothing in it was written for so many seconds.
_OLD: Final = 2 * 24 * 3600


@contextmanager
def staging_for(path: Path) -> Iterator[Path]:
    """Yield a path on the same file system as ``path``, to be written and then renamed.

    Leftovers of killed processes next to ``path`` are removed.

    Parameters
    ----------
    path : pathlib.Path
        The final path. Missing parents are made.

    Yields
    ------
    pathlib.Path
        A path at which nothing exists. It never exists after the block.

    Raises
    ------
    OSError
        The file system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place, lock = _claim(path)
    try:
        yield place / f"{path.name}.part"
    finally:
        # Remove before unlocking: another process may reuse the folder as soon as it is unlocked.
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)
        if os.name == "nt":  # Windows cannot remove an open file
            shutil.rmtree(place, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove leftovers of killed processes next to a path that they wrote."""
    for number in itertools.count():
        place = _place(path, number)
        if not os.path.lexists(place):
            return
        _remove_if_left(place)


def remove_leftovers_in(folder: Path) -> None:
    """Remove all leftovers of killed processes in a folder."""
    for place in folder.iterdir():
        if _PLACE.fullmatch(place.name) and (place / _OWNER).is_file():
            _remove_if_left(place)


def _place(path: Path, number: int) -> Path:
    return path.with_name(f".{path.name}.{number}.part")


def _claim(path: Path) -> tuple[Path, int]:
    """Make a hidden folder for this process; return it and its open lock."""
    number = 0
    while True:
        place = _place(path, number)
        try:
            place.mkdir()
        except FileExistsError:
            number += not _remove_if_left(place)
            continue
        if (lock := _lock_new(place)) is not None:
            break
    for later in itertools.count(number + 1):
        if not os.path.lexists(_place(path, later)):
            return place, lock
        _remove_if_left(_place(path, later))
    raise AssertionError  # unreachable: the count is endless


def _lock_new(place: Path) -> int | None:
    """Lock a new folder; None if another process removed it as a leftover."""
    owner = place / _OWNER
    try:
        lock = os.open(owner, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    try:
        os.write(lock, _machine())
        _lock(lock, wait=True)
        if os.path.samestat(owner.stat(), os.fstat(lock)):
            return lock
    except FileNotFoundError:
        pass
    except BaseException:  # such as on a full disk
        with suppress(OSError):
            if os.path.samestat(owner.stat(), os.fstat(lock)):
                owner.unlink()
                place.rmdir()
        os.close(lock)
        raise
    os.close(lock)
    return None


def _remove_if_left(place: Path) -> bool:
    """Remove a folder unless a living process may need it; return whether it is gone."""
    try:
        lock = os.open(place / _OWNER, os.O_RDWR)
    except FileNotFoundError:
        with suppress(OSError):  # killed before it wrote `owner`, so the folder is empty
            place.rmdir()
        return not os.path.lexists(place)
    except OSError:
        return False
    try:
        free = _lock(lock, wait=False)
        if free is False:
            return False
        if not os.path.samestat((place / _OWNER).stat(), os.fstat(lock)):
            return False  # removed and made again since its owner was opened
        mine = os.read(lock, 1024) == _machine()
        if not (free and mine) and time.time() - _latest(place) < _OLD:
            return False
        shutil.rmtree(place, ignore_errors=True)
    except FileNotFoundError:
        pass  # removed in the meantime
    finally:
        os.close(lock)
    return not os.path.lexists(place)


def _lock(file: int, *, wait: bool) -> bool | None:
    """Lock an open file; return whether it was free, None if that is unknown."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _latest(place: Path) -> float:
    """Time of the last write in a folder, seconds since 1970."""
    times = [place.stat().st_mtime]
    for path in place.rglob("*"):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)


def _machine() -> bytes:
    return platform.node().encode(errors="replace")
