"""What the folder of a recipe is of, so that the same recipe goes on there."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from cubecrop._version import __version__
from cubecrop.errors import OutputError
from cubecrop.files import check_free, new_file
from cubecrop.model import MODEL_FILES, CropModel
from cubecrop.training.checkpoint import METRICS
from cubecrop.training.checkpoint import STATE as WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd

    from cubecrop.pipeline.recipe_file import Recipe

__all__ = [
    "CARD", "MODEL", "REPORT", "RecipeFolder", "parcels_digest", "report_of", "settings_of",
]  # fmt: skip

#: Folders of the model and of its report.
MODEL, REPORT = "model", "report"
#: File with the card.
CARD = "card.md"
#: File that says what the folder is of, in digests.
STATE: Final = "recipe.json"
#: Folder of the training's state, which is removed when the model is there.
TRAINING: Final = "training"
_CURE: Final = "Free some space there or name another folder."
_OTHERWISE: Final = "Name another folder, or pass `overwrite=True` (`--overwrite`) to train again."
#: Entries that name what has a digest of its own, and those that do not change the model.
_ELSEWHERE: Final = ("sources", "report", "nomenclature", "init")


def settings_of(recipe: Recipe, init: CropModel | None) -> dict[str, str]:
    """Digests of what determines a model beside its parcels; files count by their content."""
    entries = {name: value for name, value in asdict(recipe).items() if name not in _ELSEWHERE}
    entries |= {name: _place(entries[name]) for name in ("archive", "weather")}
    sources = [
        {**asdict(source), "parcels": "", "archive": _place(source.archive)}
        for source in recipe.sources
    ]
    path = None if recipe.nomenclature is None else Path(recipe.nomenclature)
    classes = path.read_bytes() if path is not None and path.is_file() else b""
    return {
        "version of cubecrop": __version__,
        "settings": _digest(entries),
        "sources": _digest(sources),
        "init": "" if init is None else init.digest,
        "classes": hashlib.sha256(classes).hexdigest(),
    }


def report_of(recipe: Recipe) -> str:
    """Digest of what the report at the end asks."""
    return _digest([recipe.protocols, recipe.report.seeds])


def parcels_digest(tables: Sequence[gpd.GeoDataFrame]) -> str:
    """SHA-256 over ids, crops and shapes of parcels."""
    total = hashlib.sha256()
    for table in tables:
        total.update(f"{table.crs.to_string()} {len(table)}".encode())
        others = table.drop(columns=table.geometry.name)
        total.update(others.astype(str).to_json(orient="values").encode())
        for shape in table.geometry.to_wkb():
            total.update(shape or b"-")
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class RecipeFolder:
    """The folder that a recipe's training writes, and what its files say."""

    path: Path
    known: Mapping[str, str]
    is_started: bool

    @classmethod
    def at(cls, path: Path, *, overwrite: bool) -> RecipeFolder:
        """What is there; raises `OutputError` unless it can be written or continued."""
        check_free(path / MODEL, files=MODEL_FILES, overwrite=True)
        # It is removed later, so nobody else's files may be in it.
        check_free(path / TRAINING, files=(METRICS, WEIGHTS), overwrite=True)
        known = _read(path / STATE)
        if (path / STATE).exists() and not overwrite and not known:
            raise OutputError(
                f"{path / STATE} is there already, and not of a recipe's training. {_OTHERWISE}"
            )
        is_started = (path / MODEL).exists() or (path / CARD).exists()
        if is_started and not overwrite and not known:
            there = path / (MODEL if (path / MODEL).exists() else CARD)
            raise OutputError(
                f"{there} is there already, and no {STATE} says of which recipe. {_OTHERWISE}"
            )
        return cls(path, {} if overwrite else known, is_started and not overwrite)

    def check(self, found: Mapping[str, str], report: str) -> None:
        """Raise if a model that is there is of something else, or if its report is finished.

        ``found`` may be a part of what determines the model.
        """
        if not self.is_started:
            return
        differing = [name for name, digest in found.items() if self.known.get(name) != digest]
        if differing:
            raise OutputError(
                f"{self.path} holds a model that differs in {', '.join(differing)}. {_OTHERWISE}"
            )
        if self.known.get("finished report") == report:
            raise OutputError(
                f"{self.path} holds the model and the report of this recipe already. {_OTHERWISE}"
            )

    def model(self) -> CropModel | None:
        """The trained model; None if there is none, or another one than the file says."""
        if not self.is_started or "model" not in self.known or not (self.path / MODEL).exists():
            return None
        found = CropModel.load(self.path / MODEL)
        return found if found.digest == self.known["model"] else None

    def checkpoint(self, found: Mapping[str, str], device: str) -> Path:
        """Folder of the training's state, without that of another training."""
        own = {**found, "device": device, "torch": str(torch.__version__)}
        folder = self.path / TRAINING
        if dict(self.known) != own:
            shutil.rmtree(folder, ignore_errors=True)
            self._write(own)
        return folder

    def trained(self, found: Mapping[str, str], model: CropModel) -> None:
        """Say that the model is there."""
        self._write({**found, "model": model.digest})
        shutil.rmtree(self.path / TRAINING, ignore_errors=True)

    def finished(self, found: Mapping[str, str], model: CropModel, report: str) -> None:
        """Say that the report is there too."""
        self._write({**found, "model": model.digest, "finished report": report})

    def _write(self, content: Mapping[str, str]) -> None:
        with new_file(self.path / STATE, cure=_CURE) as staging:
            staging.write_text(json.dumps(dict(content), indent=1) + "\n", "utf-8")


def _read(path: Path) -> dict[str, str]:
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    is_own = isinstance(raw, dict) and "settings" in raw
    return {str(key): str(value) for key, value in raw.items()} if is_own else {}


def _place(value: str | None) -> str | None:
    """The absolute path of a file or folder, so that it counts the same from everywhere."""
    if value is None or not Path(value).exists():
        return value
    return str(Path(value).resolve())


def _digest(content: Any) -> str:  # noqa: ANN401
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
