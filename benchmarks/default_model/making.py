"""Make the default model: train it, score it, and write it with its record and its page."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console

from benchmarks.default_model.choosing import choose
from benchmarks.default_model.limits import (
    by_share_kept,
    false_sure,
    limits_left_out,
    missed_though_learned,
    shares_by_level,
    unreliable_areas,
    without_classes,
)
from benchmarks.default_model.points import nomenclature, read_points
from benchmarks.default_model.recipe import (
    CHOSEN,
    SIMULATED,
    recipe,
    recipe_digest,
    starter,
    train_model,
)
from benchmarks.default_model.scoring import (
    calibration_error,
    joint_temperature,
    middle_temperature,
    region_scores,
    truth_of,
)
from benchmarks.default_model.trainings import (
    Store,
    better_forest,
    forests_left_out,
    home_folds,
    kept_starter,
    left_out,
    pairs_left_out,
    probability_of,
)
from cubecrop import CropModel
from cubecrop.metrics import scores
from cubecrop.model import Calibration, tempered
from cubecrop.model.shipped import CARD, read_card, shipped_folder
from cubecrop.model.shipped.card import card_text
from cubecrop.nomenclature import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check", "make", "write_page"]

_ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = _ROOT / "cubecrop/model/shipped/default"
PAGE: Final = _ROOT / "docs/default-model.md"
#: Largest difference of macro-F1 on the training points between two trainings of the recipe.
SPREAD: Final = 0.05

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


def make(data: Path, work: Path) -> None:
    """Train and score everything, then write model, record and page."""
    console = Console()
    parts = [part.labelled() for part in read_points(data)]
    work.mkdir(parents=True, exist_ok=True)
    choice = choose(parts, work, console)
    if choice["chosen"] != CHOSEN.name:
        raise SystemExit(f"the best recipe is {choice['chosen']!r}, but CHOSEN {CHOSEN.name!r}")
    store = Store(work / recipe_digest()[:12], console)
    start = kept_starter(CHOSEN, work, console)
    outer = left_out(parts, start, CHOSEN, store)
    forests = forests_left_out(parts, CHOSEN, store)
    home = home_folds(parts, start, CHOSEN, store)
    pairs = pairs_left_out(parts, start, CHOSEN, store)
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
            part, one["all"], better_forest(forest, truth_of(part)), warm, together
        )
        for part, one, forest, warm, together in zip(
            parts, outer, forests, temperatures, joint, strict=True
        )
    }
    limits = limits_left_out(outer, temperature)
    for name, one in zip(regions, outer, strict=True):
        regions[name]["levels"] = shares_by_level(one, temperature, limits.pixel)
    limits = replace(limits, unreliable=unreliable_areas(parts, regions))
    unseen = without_classes(parts, store)
    of_class, learned = false_sure(parts, unseen), missed_though_learned(parts, outer)
    for name, one in of_class.items():
        one["if_learned"] = learned[name]
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
        "temperature": temperature, "limits": asdict(limits),
        "false_sure": of_class, "by_share_kept": by_share_kept(parts, unseen),
        "choice": choice, "spread": SPREAD,
    }  # fmt: skip
    text = json.dumps(_rounded(record), indent=1, ensure_ascii=False)
    (FOLDER / CARD).write_text(text + "\n", "utf-8")
    write_page()
    console.print(card_text(read_card()), markup=False)


def simulated_text() -> str:
    """What of the training is simulated, as a sentence of the card."""
    regions, years = len(CHOSEN.regions), len(SIMULATED["years"])
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
        scores(truth, decide(np.concatenate([probability_of(model, p.samples) for p in parts])),
               len(nomenclature())).macro_f1
        for model in (shipped, again)
    ]  # fmt: skip
    text = f"macro-F1 on the training points: shipped {f1[0]:.3f}, trained again {f1[1]:.3f}"
    if abs(f1[0] - f1[1]) > record["spread"]:
        raise SystemExit(f"{text}: more than {record['spread']} apart")
    Console().print(text)


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
