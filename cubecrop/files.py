"""Write folders and files completely or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from cubecrop.checks import check_flag
from cubecrop.errors import CubecropError, OutputError
from cubecrop.staging import remove_leftovers_in, staging_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

__all__ = ["check_free", "new_file", "new_folder", "swap_folder"]

#: Random hexadecimal digits in a hidden name.
_RANDOM = 12


def check_free(out: Path, *, files: Collection[str], overwrite: bool) -> None:
    """Raise unless a folder can be written as ``out``.

    Parameters
    ----------
    out : pathlib.Path
        A missing folder, an empty one or, with ``overwrite``, one that holds only ``files``.
    files : collection of str
        Names of the files that may be replaced; empty if nothing may be replaced.
    overwrite : bool
        Whether to replace them.

    Raises
    ------
    OutputError
        The message names ``out`` and the cure.
    """
    check_flag("overwrite", overwrite)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, expected a folder to write to. Name another one.")
    if out.is_dir():
        remove_leftovers_in(out)
    present = sorted(out.iterdir()) if out.is_dir() else []
    if present and not overwrite:
        cure = (
            "Name another one, or pass `overwrite=True` (`--overwrite`) to replace an earlier "
            "result."
            if files
            else "Name another one, or remove it."
        )
        raise OutputError(
            f"{out} holds {_names(present)}, expected a missing or empty folder. {cure}"
        )
    if foreign := [path for path in present if path.name not in files or path.is_dir()]:
        raise OutputError(
            f"{out} holds {_names(foreign)}, which cubecrop did not write and will not replace. "
            "Move these away, or name another folder."
        )
    parent = next(path for path in out.absolute().parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{out} cannot be made: {parent} is not writable. Name another folder.")


@contextmanager
def new_folder(out: Path, *, files: Collection[str], overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder that becomes ``out`` if the block succeeds; see `swap_folder`.

    Parameters
    ----------
    out, files, overwrite
        As for `check_free`, which is called again before ``out`` is touched.

    Yields
    ------
    pathlib.Path
        The hidden folder.

    Raises
    ------
    OutputError
        ``out`` cannot be replaced, or the file system reports an error.
    """
    cure = "Free some space there or name another folder."
    check = partial(check_free, files=files, overwrite=overwrite)
    with swap_folder(out, cure=cure, check=check) as staging:
        yield staging


@contextmanager
def swap_folder(
    out: Path, *, cure: str, check: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Yield a hidden folder next to ``out`` that replaces it if the block succeeds.

    Both are on one file system, so that renaming is a single step. If the block raises, the hidden
    folder is removed and ``out`` stays unchanged. A replaced folder first gets a hidden name.
    The next process that writes ``out`` removes the remains of a killed one.

    Parameters
    ----------
    out : pathlib.Path
        Folder to write; missing parents are made.
    cure : str
        What the message of an error advises, as a sentence.
    check : callable, optional
        Called with ``out`` before it is touched; raises if ``out`` must stay. By default any
        folder may be replaced.

    Yields
    ------
    pathlib.Path
        The hidden folder.

    Raises
    ------
    OutputError
        The file system refuses.
    """
    out = out.resolve()
    try:
        with staging_for(out) as staging:
            staging.mkdir()
            yield staging
            if check is not None:
                check(out)
            _publish(staging, out)
    except OSError as error:
        if isinstance(error, CubecropError):
            raise
        raise OutputError(f"{out} cannot be written: {error}. {cure}") from error


@contextmanager
def new_file(path: Path, *, cure: str) -> Iterator[Path]:
    """Yield a hidden file next to ``path`` that replaces it if the block succeeds.

    Parameters
    ----------
    path : pathlib.Path
        File to write; missing parents are made, and an existing file is replaced.
    cure : str
        What the message of an error advises, as a sentence.

    Yields
    ------
    pathlib.Path
        The hidden file, for the block to write; it never exists after the block.

    Raises
    ------
    OutputError
        The file system refuses.
    """
    try:
        with staging_for(path) as part:
            yield part
            part.replace(path)
    except OSError as error:
        if isinstance(error, CubecropError):
            raise
        raise OutputError(f"{path} cannot be written: {error}. {cure}") from error


def _publish(staging: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:_RANDOM]}.old")
    if out.exists():
        out.rename(old)
    try:
        staging.rename(out)
    except BaseException:  # also if a user interrupts it between the two
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    aside = f".{glob.escape(out.name)}.{'[0-9a-f]' * _RANDOM}.old"
    for left in out.parent.glob(aside):
        shutil.rmtree(left, ignore_errors=True)


def _names(paths: list[Path]) -> str:
    shown = ", ".join(repr(path.name) for path in paths[:3])
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"
