"""The networks and forests that `benchmarks.canada` compares, by group."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

from cubecrop import TrainConfig, fit
from cubecrop.model import NetworkOptions
from cubecrop.training import fit_forest
from cubecrop.training.forest import parcel_means

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop import Nomenclature

#: Degree days per step of thermal sampling, so that each month of growth has about one step.
_THERMAL_STEP = 200.0
_TREES = 300


class Model(Protocol):
    """A trained model."""

    def predict_proba(self, samples: xr.DataTree) -> xr.DataArray:
        """Class probabilities (parcel, crop)."""
        ...


def same(samples: xr.DataTree) -> xr.DataTree:
    """Return the samples unchanged."""
    return samples


def _only(sensor: str) -> Callable[[xr.DataTree], xr.DataTree]:
    def take(samples: xr.DataTree) -> xr.DataTree:
        kept = {"/": samples.to_dataset(), sensor: samples[sensor].to_dataset(inherit=False)}
        return xr.DataTree.from_dict(kept)

    return take


radar, optical = _only("sentinel1"), _only("sentinel2")


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to prepare samples and train, and the tests by name."""

    train: Callable[[xr.DataTree, list[str], Nomenclature, int], Model]
    tests: Mapping[str, Callable[[xr.DataTree], xr.DataTree]]
    prepare: Callable[[xr.DataTree], xr.DataTree] = field(default=same)


def network(name: str, config: TrainConfig, **options: object) -> Method:
    """Describe a network of `fit` with its defaults except for some options."""
    config = replace(config, network=NetworkOptions(**options))

    def train(
        samples: xr.DataTree, labels: list[str], nomenclature: Nomenclature, seed: int
    ) -> Model:
        return fit(
            samples, labels, nomenclature=nomenclature, config=config, seed=seed, progress=False
        )

    return Method(train=train, tests={name: same})


def _forest(
    samples: xr.DataTree, labels: list[str], nomenclature: Nomenclature, seed: int
) -> Model:
    return fit_forest(samples, labels, nomenclature=nomenclature, seed=seed)


@dataclass(frozen=True)
class _Forest:
    """A random forest on features that a function computes."""

    trees: RandomForestClassifier
    features: Callable[[xr.DataTree], NDArray[np.float64]]
    nomenclature: Nomenclature

    def predict_proba(self, samples: xr.DataTree) -> xr.DataArray:
        out = np.zeros((samples.sizes["parcel"], len(self.nomenclature)))
        out[:, self.trees.classes_] = self.trees.predict_proba(self.features(samples))
        return xr.DataArray(out, dims=("parcel", "crop"))


def _full_forest(
    samples: xr.DataTree, labels: list[str], nomenclature: Nomenclature, seed: int
) -> Model:
    def features(tree: xr.DataTree) -> NDArray[np.float64]:
        bands = {name: tuple(tree[name]["band"].to_numpy()) for name in ("sentinel2", "sentinel1")}
        parts = [parcel_means(tree, bands=bands, step="month")]
        parts += [tree[name][name].to_numpy() for name in ("weather", "terrain")]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    trees = RandomForestClassifier(_TREES, random_state=seed)
    trees.fit(features(samples), [nomenclature.index(label) for label in labels])
    return _Forest(trees, features, nomenclature)


def methods(epochs: int | None) -> dict[str, Sequence[Method]]:
    """List the methods by the name of their group."""
    plain = TrainConfig(epochs=epochs)
    missing = replace(plain, may_be_missing=("sentinel2", "sentinel1"))
    tolerant = network("network for missing sensors", missing)
    return {
        "network": [network("network", plain)],
        "published": [network("published sizes", plain, **asdict(NetworkOptions.published()))],
        "forest": [
            Method(train=_forest, tests={"random forest": same}),
            Method(train=_full_forest, tests={"random forest, weather and terrain": same}),
        ],
        "radar": [replace(network("radar network", plain), prepare=radar)],
        "optical": [replace(network("optical network", plain), prepare=optical)],
        "missing": [
            replace(
                tolerant,
                tests={
                    **tolerant.tests,
                    "network for missing sensors, radar only": radar,
                    "network for missing sensors, optical only": optical,
                },
            )
        ],
        "together": [network("network, all sensors always", replace(plain, sensor_dropout=0.0))],
        "fusion": [
            network(f"{fusion} fusion", plain, fusion=fusion)
            for fusion in ("early", "mid", "decision")
        ],
        "time": [
            network("no time", plain, time_encoding="none"),
            network("thermal time", plain, time_encoding="thermal-time"),
            network("thermal sampling", plain, thermal_step=_THERMAL_STEP),
        ],
        "inputs": [
            network("network, weather", plain, weather=True),
            network("network, terrain", plain, terrain=True),
            network("network, weather and terrain", plain, weather=True, terrain=True),
        ],
    }
