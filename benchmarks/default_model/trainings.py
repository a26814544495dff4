"""Predictions of the trainings that the scores of the default model need, kept on disk."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.default_model.limits import prediction
from benchmarks.default_model.points import nomenclature
from benchmarks.default_model.recipe import (
    SEED,
    raised,
    simulated_among_real,
    starter,
    starter_digest,
    train_model,
)
from benchmarks.default_model.scoring import cut, truth_of
from cubecrop import CropModel
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide
from cubecrop.training import fit_forest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from rich.console import Console

    from benchmarks.default_model.points import Points
    from benchmarks.default_model.recipe import Recipe
    from cubecrop.training import Encoders

__all__ = [
    "Store", "better_forest", "forests_left_out", "home_folds", "kept_starter", "left_out",
    "pairs_left_out", "probability_of",
]  # fmt: skip

_HOME_FOLDS: Final = 3

#: Shorter seasons in which the regions left out are scored: first and last day of the window.
WINDOWS: Final = {
    "whole season": None,
    "January to December": ((1, 1), (12, 31)),
    "March to October": ((3, 1), (10, 31)),
    "April to July": ((4, 1), (7, 31)),
}


class Store:
    """Predictions of finished trainings, by name."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        folder.mkdir(parents=True, exist_ok=True)

    def get(
        self, name: str, compute: Callable[[], dict[str, NDArray[np.floating]]]
    ) -> dict[str, NDArray[np.floating]]:
        """Predictions of a name, computed if they are not there."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            self.console.print(f"training: {name}")
            made = compute()
            np.savez_compressed(path.with_suffix(".part.npz"), **made)
            path.with_suffix(".part.npz").rename(path)
        with np.load(path) as held:
            return dict(held)


def probability_of(model: CropModel, samples: xr.DataTree) -> NDArray[np.floating]:
    """Probabilities (point, class) before calibration; NaN without a prediction."""
    plain = model.with_calibration(None)
    return np.asarray(plain.predict_proba(samples, allow_gaps=True).to_numpy())


def kept_starter(of: Recipe, work: Path, console: Console) -> CropModel | Encoders | None:
    """What a recipe starts from; a model of simulated seasons is kept for other recipes."""
    if of.real_series:
        return None  # each training makes its own
    if of.start != "model":
        return starter(of)
    folder = work / f"start-{starter_digest(of)[:12]}"
    if not folder.exists():
        console.print("training: simulated seasons")
        given = starter(of)
        assert isinstance(given, CropModel)
        given.save(folder)
    return CropModel.load(folder)


def left_out(
    parts: Sequence[Points], start: Any, of: Recipe, store: Store
) -> list[dict[str, NDArray[np.floating]]]:
    """Predictions of each region by a network of the others, for several inputs."""

    def compute(i: int) -> dict[str, NDArray[np.floating]]:
        others = [part for k, part in enumerate(parts) if k != i]
        model, samples = train_model(others, start, of), parts[i].samples
        out = prediction(model, parts[i])
        for name, window in WINDOWS.items():
            shorter = samples if window is None else cut(samples, *window)
            for sensors, children in _SENSORS.items():
                tree = _only(shorter, children)
                out[f"{name}|{sensors}"] = probability_of(model, tree)
        out["whole season|both, gamma nought"] = probability_of(model, raised(samples))
        return out

    return [
        store.get(f"without {part.name}", lambda i=i: compute(i))  # type: ignore[misc]
        for i, part in enumerate(parts)
    ]


def forests_left_out(
    parts: Sequence[Points], of: Recipe, store: Store
) -> list[dict[str, NDArray[np.floating]]]:
    """Predictions of each region by forests of the others, without and with simulated points."""

    def compute(i: int) -> dict[str, NDArray[np.floating]]:
        others, out = [part for k, part in enumerate(parts) if k != i], {}
        for name, learned in (("real", others), ("both", [*others, *simulated_among_real(of)])):
            forest = fit_forest(
                [part.samples for part in learned], [part.labels for part in learned],
                nomenclature=nomenclature(), seed=SEED,
            )  # fmt: skip
            out[name] = forest.predict_proba(parts[i].samples).to_numpy()
        return out

    return [
        store.get(f"forests without {part.name}", lambda i=i: compute(i))  # type: ignore[misc]
        for i, part in enumerate(parts)
    ]


def better_forest(
    made: dict[str, NDArray[np.floating]], truth: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Predictions of the forest with the higher macro-F1, with or without simulated points."""
    both = made["real"], made["both"]
    f1 = [scores(truth, decide(one), len(nomenclature())).macro_f1 for one in both]
    return both[int(np.argmax(f1))]


_SENSORS: Final = {
    "both": ("sentinel2", "sentinel1"),
    "Sentinel-2": ("sentinel2",),
    "Sentinel-1": ("sentinel1",),
}


def _only(samples: xr.DataTree, children: Sequence[str]) -> xr.DataTree:
    out = samples.copy()
    for name in {"sentinel2", "sentinel1"} - set(children):
        del out[name]
    return out


def pairs_left_out(
    parts: Sequence[Points], start: Any, of: Recipe, store: Store
) -> dict[tuple[int, int], Any]:
    """Predictions of region k by a network without the regions i and k, by (i, k)."""
    out = {}
    for i, k in itertools.combinations(range(len(parts)), 2):

        def compute(i: int = i, k: int = k) -> dict[str, NDArray[np.floating]]:
            model = train_model(
                [part for j, part in enumerate(parts) if j not in (i, k)], start, of
            )
            return {"first": probability_of(model, parts[i].samples),
                    "second": probability_of(model, parts[k].samples)}  # fmt: skip

        made = store.get(f"without {parts[i].name} and {parts[k].name}", compute)
        out[k, i], out[i, k] = made["first"], made["second"]
    return out


def home_folds(
    parts: Sequence[Points], start: Any, of: Recipe, store: Store
) -> list[tuple[NDArray[np.floating], NDArray[np.int64]]]:
    """Predictions and truth of random folds of all regions; places stay together."""
    folds = []
    for part in parts:
        groups = (
            part.samples["group"].to_numpy().astype(str) if "group" in part.samples.coords
            else np.arange(len(part))
        )  # fmt: skip
        fold, truth = np.zeros(len(part), dtype=int), truth_of(part)
        counts = np.bincount(truth)
        truth = np.where(counts[truth] < _HOME_FOLDS, counts.argmax(), truth)
        split = StratifiedGroupKFold(_HOME_FOLDS, shuffle=True, random_state=SEED)
        for number, (_, test) in enumerate(split.split(truth, truth, groups)):
            fold[test] = number
        folds.append(fold)
    out = []
    for number in range(_HOME_FOLDS):

        def compute(number: int = number) -> dict[str, NDArray[np.floating]]:
            pairs = list(zip(parts, folds, strict=True))
            model = train_model([part.take(fold != number) for part, fold in pairs], start, of)
            rows = [
                probability_of(model, part.take(fold == number).samples) for part, fold in pairs
            ]
            return {"probability": np.concatenate(rows)}

        truth = np.concatenate(
            [truth_of(part)[fold == number] for part, fold in zip(parts, folds, strict=True)]
        )
        made = store.get(f"home {number + 1} of {_HOME_FOLDS}", compute)
        out.append((made["probability"], truth))
    return out
