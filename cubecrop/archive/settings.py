"""The archive and the weather that a user names once for all calls."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import platformdirs

from cubecrop.archive.providers import PROVIDERS
from cubecrop.archive.weather import WEATHER_SOURCES
from cubecrop.checks import brief
from cubecrop.errors import ArchiveError

__all__ = ["VARIABLE", "Named", "named_archive", "named_weather", "settings_file"]

#: Environment variable that names an archive.
VARIABLE: Final = "CUBECROP_ARCHIVE"
_KEYS: Final = ("archive", "weather")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A source that a user named outside of the call: its name, and where it is named."""

    source: str
    where: str


def settings_file() -> Path:
    r"""``cubecrop.toml`` in the platform's folder for settings, whether it exists or not.

    The folder is ``~/.config/cubecrop`` on Linux (``$XDG_CONFIG_HOME``), ``~/Library/Application
    Support/cubecrop`` on macOS, and ``%LOCALAPPDATA%\\cubecrop`` on Windows.
    """
    return platformdirs.user_config_path("cubecrop", appauthor=False) / "cubecrop.toml"


def named_archive() -> Named | None:
    """The archive of the environment, else that of the file; None if neither names one.

    Raises
    ------
    ArchiveError
        The file is read, and cannot be understood.
    """
    if source := os.environ.get(VARIABLE, "").strip():
        return Named(source=source, where=f"the environment variable {VARIABLE}")
    return _of_file("archive", PROVIDERS)


def named_weather() -> Named | None:
    """The weather source of the file; None if it names none. Raises as `named_archive`."""
    return _of_file("weather", {*PROVIDERS, *WEATHER_SOURCES})


def _of_file(key: str, names: object) -> Named | None:
    path = settings_file()
    source = _settings(path).get(key)
    if source is None:
        return None
    if source not in names and not urlsplit(source).scheme:  # type: ignore[operator]
        # A path is relative to the file, since the same file serves calls from any folder.
        source = str(path.parent / Path(source).expanduser())
    return Named(source=source, where=str(path))


def _settings(path: Path) -> dict[str, str]:
    """The keys of the file; {} if there is none. Raises `ArchiveError` unless all are right."""
    text = ""
    try:
        # Editors on Windows write a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:  # TOMLDecodeError states the line
        paths = " Write a path that has backslashes in single quotes." if "\\" in text else ""
        raise ArchiveError(
            f"{path} cannot be read as TOML: {error}. Correct it, or remove it. Expected lines "
            f'such as `archive = "earth-search"`, in UTF-8.{paths}'
        ) from error
    if unknown := [key for key in content if key not in _KEYS]:
        raise ArchiveError(
            f"{path} has the keys {unknown}, expected only {list(_KEYS)}. Rename or remove them."
        )
    for key, value in content.items():
        if not isinstance(value, str) or not value.strip():
            raise ArchiveError(
                f"{path}: {key} is {brief(value)}, expected text, as in `{key} = "
                f'"{"earth-search" if key == "archive" else "arco-era5"}"`.'
            )
    return {key: value.strip() for key, value in content.items()}
