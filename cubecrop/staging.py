"""Hidden places beside a name, where what will take the name is made.

A place is a folder ``.NAME.0.part``, or of a higher number where several processes write the
same name at once. A file in it, ``owner``, says which machine made it and is locked as long as
the process lives. What a killed process left is so told from what a living one needs: on the
machine that made it by the lock alone, on others (a shared disk may not share its locks) and
where there are no locks by its age as well.
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
#: Seconds after which a place of another machine counts as left, if nothing in it was written.
_OLD: Final = 2 * 24 * 3600


@contextmanager
def staging_for(path: Path) -> Iterator[Path]:
    """Give a path on the same file system as ``path``, to be made there and then renamed.

    What earlier processes left beside ``path`` when they were killed is removed.

    Parameters
    ----------
    path : pathlib.Path
        The name that will be taken. Missing parents are made.

    Yields
    ------
    pathlib.Path
        Nothing is there. It is gone after the block, whatever happens.

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
        # While it is locked nobody takes it for left, and removes what another makes there next.
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)
        if os.name == "nt":  # which removes no open file
            shutil.rmtree(place, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left beside a path that they wrote."""
    for number in itertools.count():
        place = _place(path, number)
        if not os.path.lexists(place):
            return
        _remove_if_left(place)


def remove_leftovers_in(folder: Path) -> None:
    """Remove what killed processes left in a folder, whatever they wrote there."""
    for place in folder.iterdir():
        if _PLACE.fullmatch(place.name) and (place / _OWNER).is_file():
            _remove_if_left(place)


def _place(path: Path, number: int) -> Path:
    return path.with_name(f".{path.name}.{number}.part")


def _claim(path: Path) -> tuple[Path, int]:
    """A new place of this process, and its open lock."""
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
    raise AssertionError  # a count has no end


def _lock_new(place: Path) -> int | None:
    """Lock a place just made; None where another process took it for left and removed it."""
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
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _remove_if_left(place: Path) -> bool:
    """Remove a place unless a living process may need it; whether it is gone."""
    try:
        lock = os.open(place / _OWNER, os.O_RDWR)
    except FileNotFoundError:
        with suppress(OSError):  # killed before it said whose it is: nothing lies there
            place.rmdir()
        return not os.path.lexists(place)
    except OSError:
        return False
    try:
        free = _lock(lock, wait=False)
        if free is False:
            return False
        if not os.path.samestat((place / _OWNER).stat(), os.fstat(lock)):
            return False  # the place was removed and made anew since its owner was looked up
        mine = os.read(lock, 1024) == _machine()
        if not (free and mine) and time.time() - _latest(place) < _OLD:
            return False
        shutil.rmtree(place, ignore_errors=True)
    except FileNotFoundError:
        pass  # gone in the meantime
    finally:
        os.close(lock)
    return not os.path.lexists(place)


def _lock(file: int, *, wait: bool) -> bool | None:
    """Lock an open file: whether it was free, None where that cannot be known."""
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
    """When something was last written there, seconds since 1970."""
    times = [place.stat().st_mtime]
    for path in place.rglob("*"):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)


def _machine() -> bytes:
    return platform.node().encode(errors="replace")
