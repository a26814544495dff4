"""The folder of a run: local, or in any storage that fsspec reaches, such as ``s3://``.

A file appears whole or not at all: a local one is renamed when it is complete, and object stores
show an object only after its last byte. A local folder is renamed too. In object stores, the file
that proves a folder to be complete is uploaded last and removed first.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cubecrop.errors import CubecropError, MissingExtraError, OutputError
from cubecrop.files import new_file, swap_folder
from cubecrop.staging import remove_leftovers_in
from cubecrop.texts import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROOF", "Output"]

#: The file that proves a folder to be complete.
PROOF: Final = "evidence.json"
_CURE: Final = "Free some space, check who may write there, or name another folder."


@dataclass(frozen=True, slots=True)
class Output:
    """Files below one folder or URL; names are relative and use ``/``.

    Parameters
    ----------
    url : str
        A local folder, or an address such as ``s3://bucket/run``.
    """

    url: str

    @classmethod
    def at(cls, out: object) -> Output:
        """The output at a path or URL; raises `OutputError` if it is neither."""
        if not isinstance(out, str | Path) or not str(out):
            raise OutputError(f"out is {out!r}, expected a folder or a URL such as 's3://…'.")
        text = str(out)
        if "://" not in text:
            return cls(str(Path(text).expanduser().resolve()))
        if urlsplit(text).scheme == "file":
            return cls(str(Path(urlsplit(text).path).resolve()))
        output = cls(text.rstrip("/"))
        output._files()  # raises if the storage needs another package
        return output

    @property
    def folder(self) -> Path | None:
        """The local folder; None if the output is elsewhere."""
        return None if "://" in self.url else Path(self.url)

    def href(self, name: str) -> str:
        """Path or URL of a file."""
        return f"{self.url}/{name}" if name else self.url

    def exists(self, name: str) -> bool:
        """Whether a file or folder exists."""
        if self.folder is not None:
            return (self.folder / name).exists()
        return bool(self._files().exists(self.href(name)))

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders in a folder, sorted; none if it does not exist."""
        if self.folder is not None:
            place = self.folder / folder
            found = [path.name for path in place.iterdir()] if place.is_dir() else []
            return sorted(name for name in found if not name.startswith("."))
        files = self._files()
        files.invalidate_cache()  # other processes write here
        try:
            paths = files.ls(self.href(folder), detail=False)
        except FileNotFoundError:
            return []
        children = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths}
        return sorted(children - {"", self.href(folder).rsplit("/", 1)[-1]})

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; raises FileNotFoundError if there is none."""
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        content: bytes = self._files().cat_file(self.href(name))
        return content

    def read_json(self, name: str) -> Any:  # noqa: ANN401
        """Content of a JSON file; None if there is none, or if it is not JSON."""
        try:
            return json.loads(self.read_bytes(name))
        except (FileNotFoundError, ValueError):
            return None

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        if self.folder is not None:
            with new_file(self.folder / name, cure=_CURE) as part:
                part.write_bytes(content)
            return
        with self._refusals(name):
            self._files().pipe_file(self.href(name), content)

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file, or replace it."""
        self.write_bytes(name, (json_text(content, indent=2) + "\n").encode())

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """Yield a local path for the block to write; it becomes the file if the block succeeds."""
        if self.folder is not None:
            with new_file(self.folder / name, cure=_CURE) as part:
                yield part
            return
        with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
            part = Path(folder) / Path(name).name
            yield part
            with self._refusals(name):
                self._files().put_file(str(part), self.href(name))

    @contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        """Yield a local folder that becomes the folder ``name`` if the block succeeds.

        It replaces an earlier folder. The block must write `PROOF`.
        """
        if self.folder is not None:
            with swap_folder(self.folder / name, cure=_CURE) as part:
                yield part
            return
        with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
            part = Path(folder)
            yield part
            self.remove(name)
            with self._refusals(name):
                for path in sorted(part.iterdir(), key=lambda path: path.name == PROOF):
                    self._files().put_file(str(path), self.href(f"{name}/{path.name}"))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield a local path of a file for reading; a remote file is fetched for the block."""
        if self.folder is not None:
            yield self.folder / name
            return
        with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
            path = Path(folder) / Path(name).name
            self._files().get_file(self.href(name), str(path))
            yield path

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it exists."""
        if self.folder is not None:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        files = self._files()
        files.invalidate_cache()
        with self._refusals(name):
            if files.exists(self.href(f"{name}/{PROOF}")):
                files.rm_file(self.href(f"{name}/{PROOF}"))
            if files.exists(self.href(name)):
                files.rm(self.href(name), recursive=True)

    def remove_leftovers(self) -> None:
        """Remove hidden files of killed processes."""
        if self.folder is None:
            return
        for name in ("", "plan", "tiles", "edges", "failures"):
            if (self.folder / name).is_dir():
                remove_leftovers_in(self.folder / name)

    def _files(self) -> Any:  # noqa: ANN401
        """The file system of fsspec; raises if its package is missing or the URL is unknown."""
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.url)[0]
        except ImportError as error:
            raise MissingExtraError(
                f"{self.url} needs a package that is not installed: {error}. For s3:// install "
                "`pip install s3fs`."
            ) from error
        except ValueError as error:
            raise OutputError(
                f"{self.url} is no known kind of storage: {error}. Name a folder, or an address "
                "such as 's3://bucket/run'."
            ) from error

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """Raise `OutputError` where the storage refuses."""
        try:
            yield
        except OSError as error:
            if isinstance(error, CubecropError):
                raise
            raise OutputError(f"{self.href(name)} cannot be written: {error}. {_CURE}") from error
