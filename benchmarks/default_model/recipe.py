"""The recipe of the default model: how it is trained from points.

First `starter` learns from simulated seasons alone: without labels, by reconstruction, and then
with labels. `train_model` starts from its encoders and learns from real points. So what a model of
some regions knows of a region that is left out is nothing, at every stage.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.default_model.points import (
    BANDS,
    CLASSES,
    WINDOW,
    Points,
    nomenclature,
    simulated_points,
)
from cubecrop import NetworkOptions, TrainConfig, fit
from cubecrop.training import PretrainConfig, pretrain
from cubecrop.training.applicability import training_space
from cubecrop.training.sets import training_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from cubecrop import CropModel
    from cubecrop.model import TrainingRecord
    from cubecrop.nomenclature import Nomenclature

__all__ = ["CONFIG", "SEED", "recipe", "recipe_digest", "starter", "train_model"]

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
)
#: Training on simulated points with their labels, between both.
REHEARSAL: Final = replace(CONFIG, epochs=8)
#: How often the points of the small regions enter, about by the square root of their number.
REPEATED: Final = {"France": 3, "Corsica": 2, "Flanders": 3}
#: One in this many simulated points stays among the real ones: it holds the crops that no real
#: region has but one.
KEPT: Final = 6
#: Pixels of a parcel at prediction.
PIXELS: Final = 64


def recipe() -> dict[str, Any]:
    """All choices that determine the model beside its data, as JSON types."""
    return {
        "simulated": {**SIMULATED, "years": list(SIMULATED["years"])},
        "pretraining": json.loads(json.dumps(asdict(PRETRAINING))),
        "repeated": REPEATED,
        "kept": KEPT,
        "rehearsal": REHEARSAL.to_dict(),
        "config": CONFIG.to_dict(),
        "seed": SEED,
        "classes": CLASSES,
        "bands": list(BANDS),
        "window": [list(day) for day in WINDOW],
        "gamma_db": GAMMA_DB,
        "pixels": PIXELS,
    }


def recipe_digest() -> str:
    """SHA-256 of the recipe."""
    return hashlib.sha256(json.dumps(recipe(), sort_keys=True).encode()).hexdigest()


def starter(*, without: str | None = None, seed: int = SEED) -> CropModel:
    """A model of simulated seasons: pre-trained without labels, then trained with them.

    ``without`` leaves the points of a class out of both.
    """
    parts: Sequence[Points] = simulated()
    if without is not None:
        parts = [part.take(np.array([label != without for label in part.labels])) for part in parts]
    encoders = pretrain(
        [part.samples for part in parts], config=PRETRAINING, seed=seed, progress=False
    )
    known = [part.labelled() for part in parts]
    return fit(
        [part.samples for part in known], [part.labels for part in known],
        nomenclature=_classes(without), config=REHEARSAL, init=encoders, seed=seed, progress=False,
    )  # fmt: skip


@functools.cache
def simulated() -> tuple[Points, ...]:
    """The simulated points, with labels where their crop is a class of the model."""
    parts = simulated_points(SIMULATED["years"], n=SIMULATED["n"], seed=SIMULATED["seed"])
    return tuple(parts)


def simulated_among_real(without: str | None = None) -> list[Points]:
    """The simulated points that stay among the real ones, but for those of a class."""
    known = [part.labelled(without=without) for part in simulated()]
    return [part.take(np.arange(0, len(part), KEPT)) for part in known]


def train_model(
    parts: Sequence[Points], start: CropModel, *, without: str | None = None, seed: int = SEED
) -> CropModel:
    """Train on the labelled points of some regions, from the encoders of `starter`.

    ``without`` leaves a class out, which `starter` must have left out too.

    Every region enters twice: with the radar of its table, and with radar raised to about gamma
    nought, so that the model takes both. Some simulated points stay among them.
    """
    classes = _classes(without)
    parts = [part.labelled(without=without) for part in parts]
    kept = simulated_among_real(without)
    # A small region counts more than its number of points.
    weighted = [part for part in parts for _ in range(REPEATED.get(part.name, 1))]
    samples = [part.samples for part in weighted] + [raised(part.samples) for part in weighted]
    labels = [part.labels for part in weighted] * 2
    samples += [part.samples for part in kept]
    labels += [part.labels for part in kept]
    model = fit(
        samples, labels, nomenclature=classes, config=CONFIG, init=start, seed=seed,
        progress=False,
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
