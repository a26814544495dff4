"""Make the default model: train it, score it, and write it with its record and its page."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.default_model.limits import (
    false_sure,
    limits_left_out,
    prediction,
    shares_by_level,
)
from benchmarks.default_model.points import SIMULATED as SIMULATED_REGIONS
from benchmarks.default_model.points import Points, nomenclature, read_points
from benchmarks.default_model.recipe import (
    SEED,
    SIMULATED,
    raised,
    recipe,
    recipe_digest,
    simulated_among_real,
    starter,
    train_model,
)
from benchmarks.default_model.scoring import (
    calibration_error,
    cut,
    joint_temperature,
    middle_temperature,
    region_scores,
    truth_of,
)
from cubecrop import CropModel
from cubecrop.metrics import scores
from cubecrop.model import Calibration, tempered
from cubecrop.model.shipped import CARD, read_card, shipped_folder
from cubecrop.model.shipped.card import card_text
from cubecrop.nomenclature import decide
from cubecrop.training import fit_forest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Store", "check", "make", "write_page"]

_ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = _ROOT / "cubecrop/model/shipped/default"
PAGE: Final = _ROOT / "docs/default-model.md"
#: Largest difference of macro-F1 on the training points between two trainings of the recipe.
SPREAD: Final = 0.05
_HOME_FOLDS: Final = 3

#: Regions of a table, and where their labels come from.
SOURCES: Final = (
    {
        "regions": "Ontario, Maritimes", "year": 2017,
        "labels": "Annual Space-Based Crop Inventory, Agriculture and Agri-Food Canada",
        "licence": "Open Government Licence - Canada",
    },
    {
        "regions": "France (Normandy, Maine)", "year": 2023,
        "labels": "Registre Parcellaire Graphique, IGN and ASP",
        "licence": "Licence Ouverte 2.0",
    },
    {
        "regions": "Corsica", "year": 2022,
        "labels": "Registre Parcellaire Graphique, IGN and ASP",
        "licence": "Licence Ouverte 2.0",
    },
    {
        "regions": "Flanders", "year": 2018,
        "labels": "Landbouwgebruikspercelen, Department of Agriculture and Fisheries of Flanders",
        "licence": "free open data licence of Flanders",
    },
)  # fmt: skip
ATTRIBUTIONS: Final = (
    "Series extracted by ESA WorldCereal, from its public repositories (MIT licence).",
    "Contains modified Copernicus Sentinel data 2016 to 2023.",
)

#: Shorter seasons in which the regions left out are scored: first and last day of the window.
WINDOWS: Final = {
    "whole season": None,
    "January to December": ((1, 1), (12, 31)),
    "March to October": ((3, 1), (10, 31)),
    "April to July": ((4, 1), (7, 31)),
}


def make(data: Path, work: Path) -> None:
    """Train and score everything, then write model, record and page."""
    console = Console()
    parts = [part.labelled() for part in read_points(data)]
    work.mkdir(parents=True, exist_ok=True)
    store = Store(work / recipe_digest()[:12], console)
    start = _starter(store)
    outer = _left_out(parts, start, store)
    home = _home(parts, start, store)
    pairs = _pairs(parts, start, store)
    truths = [truth_of(part) for part in parts]
    # Of the calibration of a region, nothing may have seen it: neither the networks nor the points.
    others = [
        [(pairs[i, k], truths[k]) for k in range(len(parts)) if k != i] for i in range(len(parts))
    ]
    temperatures = [middle_temperature(one) for one in others]
    joint = [joint_temperature(one) for one in others]
    of_outer = [(one["all"], truth) for one, truth in zip(outer, truths, strict=True)]
    # Between that of regions that it does not know and that of its own.
    away, near = middle_temperature(of_outer), middle_temperature(home)
    temperature = float(np.sqrt(away * near))
    console.print(f"temperature {temperature:.2f}: {away:.2f} away, {near:.2f} at home")
    regions = {
        part.name: region_scores(
            part, one["all"], _better_forest(one, truth_of(part)), warm, together
        )
        for part, one, warm, together in zip(parts, outer, temperatures, joint, strict=True)
    }
    limits = limits_left_out(outer, temperature)
    for name, one in zip(regions, outer, strict=True):
        regions[name]["levels"] = shares_by_level(one, temperature, limits.pixel)
    left_out = false_sure(parts, store)
    model = train_model(parts, start)
    n = sum(map(len, parts))
    calibration = Calibration(
        temperature=temperature, alpha=0.1, n=n, threshold=_threshold(of_outer, temperature)
    )
    model = replace(
        model, calibration=calibration,
        limits=limits,
        scores={f"{name}, left out": one["network"] for name, one in regions.items()},
    )  # fmt: skip
    model = CropModel.of(model.spec, model.network, model.parcels_seen, model.training_space)
    if FOLDER.exists():
        (FOLDER / CARD).unlink(missing_ok=True)
    model.save(FOLDER, overwrite=True)
    record = {
        "digest": model.digest, "recipe_digest": recipe_digest(), "recipe": recipe(),
        "licence": model.licence, "parcels": dict(model.training.parcels), "sources": SOURCES,
        "attributions": ATTRIBUTIONS, "simulated": simulated_text(), "regions": regions,
        "home": _home_scores(home, temperature), "inputs": _inputs(outer, truths),
        "temperature": temperature, "limits": asdict(limits), "false_sure": left_out,
        "spread": SPREAD,
    }  # fmt: skip
    text = json.dumps(_rounded(record), indent=1, ensure_ascii=False)
    (FOLDER / CARD).write_text(text + "\n", "utf-8")
    write_page()
    console.print(card_text(read_card()), markup=False)


def simulated_text() -> str:
    """What of the training is simulated, as a sentence of the card."""
    regions, years = len(SIMULATED_REGIONS), len(SIMULATED["years"])
    n = regions * years * SIMULATED["n"]
    return (
        f"Before that, the network learned from {n:,} simulated points of {regions} regions and "
        f"{years} years: first to reconstruct hidden parts of their series, then their crops."
    )


def write_page() -> None:
    """Write the page of the documentation from the record in the package."""
    PAGE.write_text(card_text(read_card()), "utf-8")


def check(data: Path) -> None:
    """Train again, and stop with an error if scores differ by more than the stated spread."""
    parts = [part.labelled() for part in read_points(data)]
    record, shipped = read_card(), CropModel.load(shipped_folder())
    if record["digest"] != shipped.digest or record["recipe_digest"] != recipe_digest():
        raise SystemExit("the shipped model or the recipe is not that of the record")
    again = train_model(parts, starter())
    truth = np.concatenate([truth_of(part) for part in parts])
    f1 = [
        scores(truth, decide(np.concatenate([_proba(model, p.samples) for p in parts])),
               len(nomenclature())).macro_f1
        for model in (shipped, again)
    ]  # fmt: skip
    text = f"macro-F1 on the training points: shipped {f1[0]:.3f}, trained again {f1[1]:.3f}"
    if abs(f1[0] - f1[1]) > record["spread"]:
        raise SystemExit(f"{text}: more than {record['spread']} apart")
    Console().print(text)


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


def _proba(model: CropModel, samples: xr.DataTree) -> NDArray[np.floating]:
    """Probabilities (point, class) before calibration; NaN without a prediction."""
    plain = model.with_calibration(None)
    return np.asarray(plain.predict_proba(samples, allow_gaps=True).to_numpy())


def _starter(store: Store) -> CropModel:
    """The model of simulated seasons, kept beside the predictions."""
    folder = store.folder / "starter"
    if not folder.exists():
        store.console.print("training: simulated seasons")
        starter().save(folder)
    return CropModel.load(folder)


def _left_out(
    parts: Sequence[Points], start: CropModel, store: Store
) -> list[dict[str, NDArray[np.floating]]]:
    """Predictions of each region by a network and a forest of the others, for several inputs."""

    def compute(i: int) -> dict[str, NDArray[np.floating]]:
        others = [part for k, part in enumerate(parts) if k != i]
        model, samples = train_model(others, start), parts[i].samples
        out = prediction(model, parts[i])
        kept = simulated_among_real()
        for name, learned in (("forest", others), ("forest, simulated", [*others, *kept])):
            forest = fit_forest(
                [part.samples for part in learned], [part.labels for part in learned],
                nomenclature=nomenclature(), seed=SEED,
            )  # fmt: skip
            out[name] = forest.predict_proba(samples).to_numpy()
        for name, window in WINDOWS.items():
            shorter = samples if window is None else cut(samples, *window)
            for sensors, children in _SENSORS.items():
                tree = _only(shorter, children)
                out[f"{name}|{sensors}"] = _proba(model, tree)
        out["whole season|both, gamma nought"] = _proba(model, raised(samples))
        return out

    return [
        store.get(f"without {part.name}", lambda i=i: compute(i))  # type: ignore[misc]
        for i, part in enumerate(parts)
    ]


def _better_forest(
    made: dict[str, NDArray[np.floating]], truth: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Predictions of the forest with the higher macro-F1, with or without simulated points."""
    both = made["forest"], made["forest, simulated"]
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


def _pairs(parts: Sequence[Points], start: CropModel, store: Store) -> dict[tuple[int, int], Any]:
    """Predictions of region k by a network without the regions i and k, by (i, k)."""
    out = {}
    for i, k in itertools.combinations(range(len(parts)), 2):

        def compute(i: int = i, k: int = k) -> dict[str, NDArray[np.floating]]:
            model = train_model([part for j, part in enumerate(parts) if j not in (i, k)], start)
            return {"first": _proba(model, parts[i].samples),
                    "second": _proba(model, parts[k].samples)}  # fmt: skip

        made = store.get(f"without {parts[i].name} and {parts[k].name}", compute)
        out[k, i], out[i, k] = made["first"], made["second"]
    return out


def _home(
    parts: Sequence[Points], start: CropModel, store: Store
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
            model = train_model([part.take(fold != number) for part, fold in pairs], start)
            rows = [_proba(model, part.take(fold == number).samples) for part, fold in pairs]
            return {"probability": np.concatenate(rows)}

        truth = np.concatenate(
            [truth_of(part)[fold == number] for part, fold in zip(parts, folds, strict=True)]
        )
        made = store.get(f"home {number + 1} of {_HOME_FOLDS}", compute)
        out.append((made["probability"], truth))
    return out


def _home_scores(
    home: Sequence[tuple[NDArray[np.floating], NDArray[np.int64]]], temperature: float
) -> dict[str, float]:
    probability, truth = (np.concatenate(rows) for rows in zip(*home, strict=True))
    calibrated = tempered(probability.astype(np.float32), temperature)
    found = scores(truth, decide(calibrated), len(nomenclature()))
    return {
        "n": len(truth), "accuracy": found.accuracy, "macro_f1": found.macro_f1,
        "calibration_error": calibration_error(calibrated, truth),
    }  # fmt: skip


def _inputs(
    outer: Sequence[dict[str, NDArray[np.floating]]],
    truths: Sequence[NDArray[np.int64]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by input: window and sensors; the mean over the regions left out."""
    names = [name for name in outer[0] if "|" in name]
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        found = [
            scores(truth, decide(one[name]), len(nomenclature()))
            for one, truth in zip(outer, truths, strict=True)
        ]
        window, _, sensors = name.partition("|")
        row = f"{window}, gamma nought" if "gamma" in sensors else window
        column = sensors.partition(",")[0]
        table.setdefault(row, {})[column] = {
            "accuracy": float(np.mean([one.accuracy for one in found])),
            "macro_f1": float(np.mean([one.macro_f1 for one in found])),
        }
    return table


def _threshold(
    parts: Sequence[tuple[NDArray[np.floating], NDArray[np.int64]]], temperature: float
) -> float:
    """Lowest threshold of crop sets that a region needs for 90 % of its points."""
    out = []
    for probability, truth in parts:
        known = np.isfinite(probability).all(axis=1)
        chance = tempered(probability[known].astype(np.float32), temperature)
        of_truth = np.sort(chance[np.arange(known.sum()), truth[known]])
        out.append(float(of_truth[max(0, int((len(of_truth) + 1) * 0.1) - 1)]))
    return min(out)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
