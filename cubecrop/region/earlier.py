"""What a folder holds before a plan is written: nothing, an earlier plan, or something else."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
import shapely

from cubecrop.archive import StacApiArchive, open_archive
from cubecrop.display import listed, plain
from cubecrop.errors import OutputError
from cubecrop.region.items import FrozenItems
from cubecrop.region.options import RunOptions, full_path, provider_from
from cubecrop.region.planned import ITEMS, RUN, check_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from shapely.geometry.base import BaseGeometry

    from cubecrop.archive import Archive
    from cubecrop.region.output import Output

    Source: TypeAlias = str | Path | Archive | None

__all__ = ["check_output", "check_same", "frozen_before", "sources_before"]

_CURE = (
    "Name another folder for this run, or pass `replan=True` (`--replan`) to plan this folder "
    "again."
)
#: Options that make another run; the others only make tiles again.
_REQUEST = (
    "year", "start", "end", "archive", "provider", "weather", "weather_provider", "modalities",
    "resolution", "crs", "tile",
)  # fmt: skip


def check_output(output: Output, *, replan: bool) -> dict[str, Any] | None:
    """The earlier plan of a folder; None if it is empty.

    Raises
    ------
    OutputError
        The folder holds something else or the plan of another version, or cannot be written.
    """
    _check_writable(output)
    content = output.read_json(RUN)
    if isinstance(content, dict) and "format" in content:
        if not replan:
            check_version(output, content)
        return content
    foreign = [name for name in output.names() if name != "plan"]
    if foreign:
        raise OutputError(
            f"{output.url} holds {listed(foreign, most=3)} and no plan of a region. Move these "
            "away, or name another folder."
        )
    return None


def sources_before(
    output: Output, archive: Source, weather: Source, *, replan: bool
) -> tuple[Source, Source]:
    """Archive and weather; where no archive is named, those of an earlier plan, if there is one.

    A run that goes on must not change to another archive because the first does not answer.
    """
    content = None if archive is not None or replan else output.read_json(RUN)
    if not isinstance(content, dict) or "format" not in content:
        return archive, weather
    check_version(output, content)
    before = RunOptions.from_json(content["options"])
    archive = _opened_before(before.archive, before.provider)
    if weather is None and before.weather is not None:
        kind = before.weather_provider
        weather = before.weather if kind is None else _opened_before(before.weather, kind)
    return archive, weather


def _opened_before(name: str, provider: Mapping[str, Any]) -> Archive:
    if urlsplit(name).scheme in {"http", "https"}:
        return StacApiArchive(name, provider_from(provider))
    return open_archive(name)


def check_same(
    output: Output, earlier: Mapping[str, Any], options: RunOptions, area: Mapping[str, str]
) -> None:
    """Raise if an earlier plan is of another run; the message names each difference."""
    before, asked = dict(earlier["options"]), options.to_json()
    # A mask may need land cover, but another mask makes no other run.
    before["modalities"] = [name for name in before["modalities"] if name != "landcover"]
    found = [
        f"{name} is {plain(asked[name])}, there {plain(before.get(name))}"
        for name in _REQUEST
        if full_path(asked[name]) != full_path(before.get(name))
    ]
    if earlier["area"]["sha256"] != area["sha256"]:
        found.insert(0, f"the area is {area['name']}, there {earlier['area']['name']}")
    if found:
        raise OutputError(f"{output.url} holds another run: {'; '.join(found)}. {_CURE}")


def frozen_before(
    output: Output, earlier: Mapping[str, Any], where: BaseGeometry, modalities: Sequence[str]
) -> FrozenItems:
    """The items of an earlier plan; raises unless they are whole and cover what is asked.

    That is an area in degrees, and modalities that were searched.
    """
    if missing := sorted(set(modalities) - set(earlier["items"]["modalities"])):
        raise OutputError(
            f"{output.url} holds a plan that was searched without {listed(missing)}. Pass "
            "`replan=True` (`--replan`) to search again, or another mask."
        )
    items = None
    if output.exists(ITEMS):
        with (
            output.local(ITEMS) as path,
            suppress(pa.ArrowException, OSError, LookupError, ValueError),
        ):
            items = FrozenItems.read(path)
    if items is None or items.digest != earlier["items"]["digest"]:
        raise OutputError(
            f"{output.url} holds a plan whose items ({ITEMS}) are missing or damaged. Pass "
            "`replan=True` (`--replan`) to search again."
        )
    if not shapely.from_wkb(earlier["searched"]).covers(where):
        raise OutputError(
            f"{output.url} holds a plan whose items do not cover all of these parcels. Pass "
            "`replan=True` (`--replan`) to search again."
        )
    return items


def _check_writable(output: Output) -> None:
    folder = output.folder
    if folder is None:
        return
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not parent.is_dir():
        raise OutputError(f"{parent} is a file, expected a folder to write to. Name another one.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} cannot be written: {parent} is read-only. Name another one.")
