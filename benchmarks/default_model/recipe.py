"""The recipe of the default model: how it is trained from points.

First `starter` learns from simulated seasons alone: without labels, by reconstruction, and then
with labels. `train_model` starts from its encoders and learns from real points. So a model of some
regions knows nothing of a region that is left out, at every stage. `choosing` compares recipes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from benchmarks.default_model.points import (
    BANDS,
    CLASSES,
    SIMULATED_REGIONS,
    WINDOW,
    Points,
    nomenclature,
    simulated_points,
)
from cubecrop import NetworkOptions, TrainConfig, fit
from cubecrop.training import Encoders, PretrainConfig, pretrain
from cubecrop.training.applicability import training_space
from cubecrop.training.sets import training_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from cubecrop import CropModel
    from cubecrop.model import TrainingRecord
    from cubecrop.nomenclature import Nomenclature

__all__ = [
    "CANDIDATES", "CHOSEN", "CONFIG", "SEED", "Recipe", "recipe", "recipe_digest", "starter",
    "starter_digest", "train_model",
]  # fmt: skip

SEED: Final = 0
#: Gamma nought is sigma nought divided by the cosine of the incidence, 30 to 46 degrees over land:
#: 0.6 to 1.6 dB more. The tables hold sigma nought; the public archives hold either.
GAMMA_DB: Final = 1.1
#: Simulated seasons: harvest years, points of each region and year, and the simulator's seed.
SIMULATED: Final = {"years": (2016, 2019, 2022), "n": 300, "seed": 11}
PRETRAINING: Final = PretrainConfig(
    # Tables have one pixel a parcel, so the deviation of a set's pixels cannot be learned.
    network=NetworkOptions(statistics=("mean",)),
    epochs=25,
    n_pixels=1,
)
#: Training on real points; the network is that of the pre-training.
CONFIG: Final = TrainConfig(
    epochs=14,
    batch_size=128,
    n_pixels=1,
    small_sets=0.0,
    # Less than the default: a balance of .5 brings .01 of macro-F1 and costs .02 of accuracy.
    class_balance=0.25,
    windows=(0.45, 0.7),
    may_be_missing=("sentinel2", "sentinel1"),
    validation=0.0,
    n_averaged=4,
)
#: Training on simulated points with their labels, between both.
REHEARSAL: Final = replace(CONFIG, epochs=8, n_averaged=1)
#: How often the points of the small regions enter, about by the square root of their number.
REPEATED: Final = {"France": 3, "Corsica": 2, "Flanders": 3}
#: One in this many simulated points stays among the real ones: it holds the crops that no real
#: region has but one.
KEPT: Final = 6
#: Pixels of a parcel at prediction.
PIXELS: Final = 64

#: Where a training starts: random weights, encoders of simulated seasons without labels, or those
#: of a model that learned the simulated crops after that.
Start = Literal["random", "encoders", "model"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to train the model.

    Parameters
    ----------
    name : str
        What it adds to the one before it in `CANDIDATES`.
    start : {"random", "encoders", "model"}
        Where the training on real points starts.
    regions : tuple of str
        Regions of the simulated seasons.
    real_series : bool
        Whether the encoders also learn from the real series that the training learns from, without
        their labels.
    kept : int
        One in this many simulated points stays among the real ones; 0 leaves all out.
    repeated : mapping
        How often the points of a real region enter.
    config : TrainConfig
        Settings of the training on real points.
    """

    name: str
    start: Start = "model"
    regions: tuple[str, ...] = SIMULATED_REGIONS
    real_series: bool = False
    kept: int = KEPT
    repeated: Mapping[str, int] = field(default_factory=lambda: REPEATED)
    config: TrainConfig = CONFIG


_ONE: Final = replace(CONFIG, n_averaged=1)
_REAL: Final[dict[str, Any]] = {"kept": 0, "repeated": {}, "config": _ONE}
#: Recipes to choose from; each but the first adds to the one before.
CANDIDATES: Final = (
    Recipe(name="real points, random weights", start="random", **_REAL),
    Recipe(name="encoders of simulated seasons without labels", start="encoders", **_REAL),
    Recipe(name="encoders of simulated crops", **_REAL),
    Recipe(name="simulated points among the real ones, small regions counted more", config=_ONE),
    Recipe(name="mean of the weights of four trainings"),
    Recipe(name="encoders that learned from the real series too", real_series=True),
)
#: The recipe of the default model.
CHOSEN: Final = CANDIDATES[4]


def recipe(of: Recipe = CHOSEN) -> dict[str, Any]:
    """All choices that determine the model beside its data, as JSON types."""
    return {
        **_start(of),
        "repeated": dict(of.repeated),
        "kept": of.kept,
        "config": of.config.to_dict(),
        "classes": CLASSES,
        "window": [list(day) for day in WINDOW],
        "gamma_db": GAMMA_DB,
        "pixels": PIXELS,
    }


def _start(of: Recipe) -> dict[str, Any]:
    """The choices that determine the start of the training."""
    simulated = {**SIMULATED, "years": list(SIMULATED["years"]), "regions": list(of.regions)}
    return {
        "start": of.start,
        "real_series": of.real_series,
        "simulated": simulated,
        "pretraining": json.loads(json.dumps(asdict(PRETRAINING))),
        "rehearsal": REHEARSAL.to_dict(),
        "seed": SEED,
        "bands": list(BANDS),
    }


def recipe_digest(of: Recipe = CHOSEN) -> str:
    """SHA-256 of a recipe."""
    return _digest(recipe(of))


def starter_digest(of: Recipe = CHOSEN) -> str:
    """SHA-256 of the part of a recipe that gives the start."""
    return _digest(_start(of))


def _digest(choices: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()


def starter(
    of: Recipe = CHOSEN,
    *,
    real: Sequence[Points] = (),
    without: str | None = None,
    seed: int = SEED,
) -> CropModel | Encoders | None:
    """What the training on real points starts from: all that simulated seasons give.

    ``real`` are points whose series the encoders learn from too; ``without`` leaves the points of a
    class out.
    """
    if of.start == "random":
        return None
    parts: Sequence[Points] = simulated(of.regions)
    if without is not None:
        parts = [part.take(np.array([label != without for label in part.labels])) for part in parts]
        real = [part.labelled(without=without) for part in real]
    encoders = pretrain(
        [part.samples for part in (*parts, *real)], config=PRETRAINING, seed=seed, progress=False
    )
    if of.start == "encoders":
        return encoders
    known = [part.labelled() for part in parts]
    return fit(
        [part.samples for part in known], [part.labels for part in known],
        nomenclature=_classes(without), config=REHEARSAL, init=encoders, seed=seed, progress=False,
    )  # fmt: skip


@functools.cache
def simulated(regions: tuple[str, ...] = SIMULATED_REGIONS) -> tuple[Points, ...]:
    """The simulated points, with labels where their crop is a class of the model."""
    years, n, seed = SIMULATED["years"], SIMULATED["n"], SIMULATED["seed"]
    return tuple(simulated_points(years, n=n, seed=seed, regions=regions))


def simulated_among_real(of: Recipe = CHOSEN, without: str | None = None) -> list[Points]:
    """The simulated points that stay among the real ones, but for those of a class."""
    if not of.kept:
        return []
    known = [part.labelled(without=without) for part in simulated(of.regions)]
    return [part.take(np.arange(0, len(part), of.kept)) for part in known]


def train_model(
    parts: Sequence[Points],
    start: CropModel | Encoders | None,
    of: Recipe = CHOSEN,
    *,
    without: str | None = None,
    seed: int = SEED,
) -> CropModel:
    """Train on the labelled points of some regions, from what `starter` gave.

    With ``real_series`` it makes a start of its own, from the series of these regions too.

    ``without`` leaves a class out, which `starter` must have left out too.

    Every region enters twice: with the radar of its table, and with radar raised to about gamma
    nought, so that the model takes both. Some simulated points stay among them.
    """
    if of.real_series:
        start = starter(of, real=parts, without=without)
    classes = _classes(without)
    parts = [part.labelled(without=without) for part in parts]
    kept = simulated_among_real(of, without)
    # A small region counts more than its number of points.
    weighted = [part for part in parts for _ in range(of.repeated.get(part.name, 1))]
    samples = [part.samples for part in weighted] + [raised(part.samples) for part in weighted]
    labels = [part.labels for part in weighted] * 2
    samples += [part.samples for part in kept]
    labels += [part.labels for part in kept]
    network = PRETRAINING.network if start is None else of.config.network
    model = fit(
        samples, labels, nomenclature=classes, config=replace(of.config, network=network),
        init=start, seed=seed, progress=False,
    )  # fmt: skip
    # The record and the area of applicability are those of the real points, each of them once.
    counts = {name: sum(part.counts.get(name, 0) for part in parts) for name in classes.names}
    trees = [part.samples for part in parts]
    record: TrainingRecord = replace(
        model.training,
        parcels=counts,
        bboxes=tuple(dict.fromkeys(model.training.bboxes[: len(weighted)])),
        archives=tuple(dict.fromkeys(str(tree.attrs["archive"]) for tree in trees)),
        years=tuple(sorted({int(tree.attrs["season_year"]) for tree in trees})),
    )
    sets = [
        training_set(part.samples, part.samples, part.labels, model.config, classes)
        for part in parts
    ]
    space = training_space(model.network, sets, n_pixels=1, seed=seed, device="cpu")
    return replace(
        model, training=record, training_space=space, radar_calibration="sigma0, gamma0",
        n_pixels=PIXELS, name="default", licence="Apache-2.0",
    )  # fmt: skip


def _classes(without: str | None) -> Nomenclature:
    return nomenclature().only(name for name in CLASSES if name != without)


def raised(samples: xr.DataTree, decibel: float = GAMMA_DB) -> xr.DataTree:
    """The same samples with stronger backscatter."""
    out = samples.copy()
    node = out["sentinel1"].to_dataset(inherit=False)
    attrs = node["backscatter"].attrs
    out["sentinel1"].dataset = node.assign(
        backscatter=(node["backscatter"] + decibel).astype("float32").assign_attrs(attrs)
    )
    return out
