"""The folder of a run: local, or in any storage that fsspec reaches, such as ``s3://``.

A file appears whole or not at all: a local one is renamed when it is complete, and object stores
show an object only after its last byte. A local folder is renamed too. In object stores, the file
that proves a folder to be complete is uploaded last and removed first.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import rasterio

from cubecrop.errors import CubecropError, MissingExtraError, OutputError
from cubecrop.files import new_file, swap_folder
from cubecrop.staging import remove_leftovers_in, staging_for
from cubecrop.texts import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROOF", "Output"]

#: The file that proves a folder to be complete.
PROOF: Final = "evidence.json"
_CURE: Final = "Free some space, check who may write there, or name another folder."
_REACH: Final = "Check the address, the credentials and the network."
#: Without it, GDAL lists a whole folder to find one file.
_GDAL: Final = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
#: Bytes that a raster's reader fetches at least: the header of a file, or an overview.
_BLOCK: Final = 65_536


class _InBlocks:
    """A file system for GDAL that reads in small blocks; by default, S3 fetches 50 MB at a time."""

    def __init__(self, files: Any) -> None:  # noqa: ANN401
        self._files = files

    def open(self, path: str, mode: str = "rb") -> Any:  # noqa: ANN401
        return self._files.open(path, mode, block_size=_BLOCK, cache_type="readahead")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._files, name)


@dataclass(frozen=True, slots=True)
class Output:
    """Files below one folder or URL; names are relative and use ``/``.

    Every method that takes a name raises `OutputError` for one that leads out of the folder, and
    for a storage that refuses or does not answer.

    Parameters
    ----------
    url : str
        A local folder, or an address such as ``s3://bucket/run``.
    """

    url: str

    @classmethod
    def at(cls, out: object) -> Output:
        """The output at a path or URL.

        Raises
        ------
        OutputError
            It is neither, or a kind of address that nobody can write to.
        MissingExtraError
            The storage needs a package that is not installed.
        """
        if not isinstance(out, str | Path) or not str(out):
            raise OutputError(f"out is {out!r}, expected a folder or a URL such as 's3://…'.")
        text = str(out)
        if "://" not in text:
            return cls(str(Path(text).expanduser().resolve()))
        parts = urlsplit(text)
        if parts.scheme == "file":
            return cls(str(Path(parts.path).resolve()))
        if parts.scheme in {"http", "https"} or ".." in parts.path.split("/"):
            raise OutputError(
                f"out is {text!r}, which cannot be written to. Name a folder, or an address such "
                "as 's3://bucket/run'."
            )
        output = cls(text.rstrip("/"))
        output._files()  # raises if the storage needs another package
        return output

    @property
    def folder(self) -> Path | None:
        """The local folder; None if the output is elsewhere."""
        return None if "://" in self.url else Path(self.url)

    def href(self, name: str) -> str:
        """Path or URL of a file."""
        parts = name.split("/")
        if ".." in parts or name.startswith("/") or "\\" in name:
            raise OutputError(
                f"{name!r} leads out of {self.url}. Use names such as 'tiles/32631_399960_5600040'."
            )
        return f"{self.url}/{name}" if name else self.url

    def exists(self, name: str) -> bool:
        """Whether a file or folder exists."""
        if self.folder is not None:
            return Path(self.href(name)).exists()
        with self._reached(name):
            return bool(self._files().exists(self.href(name)))

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders in a folder, sorted; none if it does not exist.

        Hidden ones, whose names begin with a dot, are left out.
        """
        if self.folder is not None:
            place = Path(self.href(folder))
            found = {path.name for path in place.iterdir()} if place.is_dir() else set()
        else:
            try:
                with self._reached(folder):
                    paths = self._files().ls(self.href(folder), detail=False)
            except FileNotFoundError:
                return []
            found = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths}
            # A store may list the folder itself.
            found -= {"", self.href(folder).rsplit("/", 1)[-1]}
        return sorted(name for name in found if not name.startswith("."))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file in a folder, by name; none if it does not exist."""
        if self.folder is not None:
            place = Path(self.href(folder))
            paths = place.iterdir() if place.is_dir() else ()
            return {path.name: path.stat().st_size for path in paths if path.is_file()}
        try:
            with self._reached(folder):
                found = self._files().ls(self.href(folder), detail=True)
        except FileNotFoundError:
            return {}
        return {
            str(one["name"]).rsplit("/", 1)[-1]: int(one["size"])
            for one in found
            if one["type"] == "file"
        }

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; raises FileNotFoundError if there is none."""
        if self.folder is not None:
            return Path(self.href(name)).read_bytes()
        with self._reached(name):
            content: bytes = self._files().cat_file(self.href(name))
        return content

    def read_json(self, name: str) -> Any:  # noqa: ANN401
        """Content of a JSON file; None if there is none, or if it is not JSON."""
        try:
            return json.loads(self.read_bytes(name))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        if self.folder is not None:
            with new_file(Path(self.href(name)), cure=_CURE) as part:
                part.write_bytes(content)
            return
        with self._written(name):
            self._files().pipe_file(self.href(name), content)

    def write_json(self, name: str, content: object) -> None:
        """Write a JSON file, or replace it."""
        self.write_bytes(name, (json_text(content, indent=2) + "\n").encode())

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """Yield a local path for the block to write; it becomes the file if the block succeeds."""
        if self.folder is not None:
            with new_file(Path(self.href(name)), cure=_CURE) as part:
                yield part
            return
        with self._made_here(name) as folder:
            part = folder / Path(name).name
            yield part
            with self._written(name):
                self._files().put_file(str(part), self.href(name))

    @contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        """Yield a local folder that becomes the folder ``name`` if the block succeeds.

        It replaces an earlier folder. The block must write `PROOF`, without which nobody takes a
        folder of an object store to be complete.
        """
        if self.folder is not None:
            with swap_folder(Path(self.href(name)), cure=_CURE) as part:
                yield part
            return
        with self._made_here(name) as part:
            yield part
            self.remove(name)
            try:
                with self._written(name):
                    self._upload(part, name)
            except BaseException:
                with suppress(OutputError):  # what is left has no proof
                    self.remove(name)
                raise

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield a local path of a file for reading; a remote file is fetched for the block."""
        if self.folder is not None:
            yield Path(self.href(name))
            return
        with tempfile.TemporaryDirectory(prefix="cubecrop-") as folder:
            path = Path(folder) / Path(name).name
            with self._reached(name):
                self._files().get_file(self.href(name), str(path))
            yield path

    @contextmanager
    def raster(self, name: str) -> Iterator[rasterio.DatasetReader]:
        """Open a raster; of a remote one only the bytes are fetched that are read."""
        opener = {} if self.folder is not None else {"opener": _InBlocks(self._files())}
        with rasterio.Env(**_GDAL), rasterio.open(self.href(name), **opener) as raster:
            yield raster

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it exists."""
        if self.folder is not None:
            path = Path(self.href(name))
            if not path.exists():
                return
            # A folder is hidden in one step, before its files go one after another.
            with self._refusals(name), staging_for(path) as aside:
                path.rename(aside)
            return
        files = self._files()
        with self._written(name):
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
            # Other processes write here, so a list of files is out of date as soon as it is made.
            return fsspec.core.url_to_fs(self.url, use_listings_cache=False)[0]
        except ImportError as error:
            raise MissingExtraError(
                f"{self.url} needs a package that is not installed: {error}. For s3:// install "
                "`pip install 'cubecrop[s3]'`."
            ) from error
        except ValueError as error:
            raise OutputError(
                f"{self.url} is no known kind of storage: {error}. Name a folder, or an address "
                "such as 's3://bucket/run'."
            ) from error

    def _upload(self, folder: Path, name: str) -> None:
        """Upload the files of a folder, `PROOF` last."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in sorted(paths, key=lambda path: path == folder / PROOF):
            place = f"{name}/{path.relative_to(folder).as_posix()}"
            self._files().put_file(str(path), self.href(place))

    @contextmanager
    def _made_here(self, name: str) -> Iterator[Path]:
        """Yield a local folder for what will be uploaded."""
        with (
            self._refusals(name),
            tempfile.TemporaryDirectory(prefix="cubecrop-") as folder,
        ):
            yield Path(folder)

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """Raise `OutputError` where the file system of this machine refuses."""
        try:
            yield
        except OSError as error:
            if isinstance(error, CubecropError):
                raise
            raise OutputError(f"{self.href(name)} cannot be written: {error}. {_CURE}") from error

    @contextmanager
    def _written(self, name: str) -> Iterator[None]:
        """Raise `OutputError` where the storage refuses; each has exceptions of its own."""
        try:
            yield
        except CubecropError:
            raise
        except Exception as error:
            raise OutputError(f"{self.href(name)} cannot be written: {error}. {_REACH}") from error

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        """Raise `OutputError` where the storage does not answer; a missing file stays one."""
        try:
            yield
        except (CubecropError, FileNotFoundError):
            raise
        except Exception as error:
            raise OutputError(f"{self.href(name)} cannot be read: {error}. {_REACH}") from error
