"""The recipe of the default model: how it is trained from points."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks.default_model.points import BANDS, CLASSES, WINDOW, Points, nomenclature
from cubecrop import NetworkOptions, TrainConfig, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from cubecrop import CropModel, Nomenclature
    from cubecrop.model import TrainingRecord

__all__ = ["CONFIG", "SEED", "recipe", "recipe_digest", "train_model"]

SEED: Final = 0
#: Gamma nought is sigma nought divided by the cosine of the incidence, 30 to 46 degrees over land:
#: 0.6 to 1.6 dB more. The tables hold sigma nought; the public archives hold either.
GAMMA_DB: Final = 1.1
CONFIG: Final = TrainConfig(
    # Tables have one pixel a parcel, so the deviation of a set's pixels cannot be learned.
    network=NetworkOptions(statistics=("mean",)),
    epochs=30,
    batch_size=128,
    n_pixels=1,
    small_sets=0.0,
    offset=0.3,
    shift_days=15.0,
    windows=(0.45, 0.7),
    may_be_missing=("sentinel2", "sentinel1"),
    validation=0.0,
)
#: Pixels of a parcel at prediction.
PIXELS: Final = 64


def recipe() -> dict[str, Any]:
    """All choices that determine the model beside its data, as JSON types."""
    return {
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


def train_model(
    parts: Sequence[Points], *, seed: int = SEED, classes: Nomenclature | None = None
) -> CropModel:
    """Train on the labelled points of some regions.

    Every region enters twice: with the radar of its table, and with radar raised to about gamma
    nought, so that the model takes both.
    """
    parts = [part.labelled() for part in parts]
    samples = [part.samples for part in parts] + [raised(part.samples) for part in parts]
    labels = [part.labels for part in parts] * 2
    model = fit(
        samples, labels, nomenclature=classes or nomenclature(), config=CONFIG, seed=seed,
        progress=False,
    )  # fmt: skip
    # Every point counts once in the record.
    counts = {name: sum(part.counts.get(name, 0) for part in parts) for name in CLASSES}
    record: TrainingRecord = replace(
        model.training, parcels=counts, bboxes=model.training.bboxes[: len(parts)]
    )
    return replace(
        model, training=record, radar_calibration="sigma0, gamma0", n_pixels=PIXELS,
        name="default", licence="Apache-2.0",
    )  # fmt: skip


def raised(samples: xr.DataTree, decibel: float = GAMMA_DB) -> xr.DataTree:
    """The same samples with stronger backscatter."""
    out = samples.copy()
    node = out["sentinel1"].to_dataset(inherit=False)
    attrs = node["backscatter"].attrs
    out["sentinel1"].dataset = node.assign(
        backscatter=(node["backscatter"] + decibel).astype("float32").assign_attrs(attrs)
    )
    return out
