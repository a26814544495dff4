"""Candidates: the models that an evaluation trains and compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

from cubecrop.errors import ArgumentError, ModelMismatchError
from cubecrop.model import WEATHER, NetworkOptions
from cubecrop.schema import SERIES
from cubecrop.training import Forest, TrainConfig, fit, fit_forest
from cubecrop.training.forest import parcel_means

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.nomenclature import Nomenclature
    from cubecrop.training import Init
    from cubecrop.training.sets import Source

__all__ = ["FOREST", "NETWORK", "TOLERANT", "Candidate", "Predicts", "ablations", "main_candidates"]

#: Names of the main candidates: others are compared with the network.
NETWORK: Final = "network"
FOREST: Final = "random forest"
TOLERANT: Final = "network for missing sensors"
#: Degree days per step of thermal sampling, so that each month of growth has about one step.
_THERMAL_STEP: Final = 200.0
_TREES: Final = 300


class Predicts(Protocol):
    """A trained model."""

    def predict_proba(self, samples: xr.DataTree) -> xr.DataArray:
        """Class probabilities (parcel, crop)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model to train: its name, what it is in a few words, and its settings.

    Parameters
    ----------
    name, text : str
        Name in tables, and its description.
    kind : {"network", "forest"}
        A network of `cubecrop.fit`, or a random forest on means of steps.
    config : TrainConfig
        Settings of a network.
    children : tuple of str
        The children of the samples that it takes; a network ignores others by itself.
    init : CropModel or Encoders, optional
        What a network starts from, as in `cubecrop.fit`.
    """

    name: str
    text: str
    kind: Literal["network", "forest"] = "network"
    config: TrainConfig = field(default_factory=TrainConfig)
    children: tuple[str, ...] = ()
    init: Init | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Its name, and all that determines its training, as plain types."""
        return {
            "name": self.name, "kind": self.kind, "config": asdict(self.config),
            "children": self.children, **({} if self.init is None else {"init": self.init.digest}),
        }  # fmt: skip

    def select(self, samples: xr.DataTree) -> xr.DataTree:
        """The samples with only the sensors that it takes."""
        left_out = (set(SERIES) & set(samples.children)) - set(self.children)
        if not self.children or not left_out:
            return samples
        nodes = {"/": samples.to_dataset()}
        nodes |= {
            name: node.to_dataset(inherit=False)
            for name, node in samples.children.items()
            if name not in left_out
        }
        return xr.DataTree.from_dict(nodes, name="pixel_sets")

    def train(
        self,
        samples: Sequence[Source],
        labels: Sequence[Sequence[str]],
        *,
        nomenclature: Nomenclature,
        seed: int,
        device: str | None = None,
    ) -> Predicts:
        """Train on labelled samples; reads their pixels."""
        own = [self._select_source(source) for source in samples]
        if self.kind == "network":
            return fit(
                own, labels, nomenclature=nomenclature, config=self.config, init=self.init,
                seed=seed, device=device, progress=False,
            )  # fmt: skip
        forest = fit_forest(own, labels, nomenclature=nomenclature, n_trees=_TREES, seed=seed)
        further = [name for name in (WEATHER, "terrain") if name in self.children]
        return _WiderForest.fitted(forest, further, own, labels, seed) if further else forest

    def _select_source(self, source: Source) -> Source:
        if isinstance(source, xr.DataTree):
            return self.select(source)
        left_out = set(SERIES) - set(self.children) if self.children else set()
        kept = {name: node for name, node in source.nodes.items() if name not in left_out}
        return replace(source, nodes=kept)


def main_candidates(
    names: Sequence[str], config: TrainConfig, init: Init | None = None
) -> list[Candidate]:
    """The main candidates of some names; raise for an unknown one."""
    known = {
        NETWORK: Candidate(name=NETWORK, text=_described(config, init), config=config, init=init),
        FOREST: Candidate(
            name=FOREST, kind="forest",
            text=f"{_TREES} trees on the mean of each band by month, gaps interpolated",
        ),
        TOLERANT: Candidate(
            name=TOLERANT, text="the network, trained so that either sensor may be missing",
            config=replace(config, may_be_missing=tuple(SERIES)), init=init,
        ),
    }  # fmt: skip
    if unknown := [name for name in names if name not in known]:
        raise ArgumentError(
            f"models {unknown} are unknown, expected some of {[*known]}, or a mapping of names to "
            "`TrainConfig`."
        )
    return [known[name] for name in names]


def ablations(config: TrainConfig, children: Collection[str], *, shapes: bool) -> list[Candidate]:
    """The network with one choice changed each time, for what the samples have.

    Parameters
    ----------
    config : TrainConfig
        Settings of the network.
    children : collection of str
        Children that all samples have.
    shapes : bool
        Whether all samples have the geometry of parcels.
    """
    out = []

    def add(name: str, text: str, *, own: tuple[str, ...] = (), **options: object) -> None:
        network = replace(config.network, **options)  # type: ignore[arg-type]
        out.append(
            Candidate(name=name, text=text, config=replace(config, network=network), children=own)
        )

    if set(SERIES) <= set(children):
        others = tuple(set(children) - set(SERIES))
        add("optical only", "the network on Sentinel-2 alone", own=("sentinel2", *others))
        add("radar only", "the network on Sentinel-1 alone", own=("sentinel1", *others))
        for fusion in ("early", "mid", "decision"):
            if fusion != config.network.fusion:
                add(f"{fusion} fusion", f"sensors joined by {fusion} fusion", fusion=fusion)
    for temporal in ("ltae", "tae", "tempcnn", "gru", "transformer"):
        if temporal != config.network.temporal:
            sizes = asdict(NetworkOptions.published(temporal))
            add(f"temporal encoder {temporal}", f"{temporal} of the published sizes",
                **{name: sizes[name] for name in _SIZES})  # fmt: skip
    add("no dates", "the network without the position of a date", time_encoding="none")
    if WEATHER in children:
        add("weather", "weather as a series of its own", weather=True)
        add("thermal time", "degree days as the position of a date", time_encoding="thermal-time")
        add("thermal sampling", f"series resampled to steps of {_THERMAL_STEP:g} degree days",
            thermal_step=_THERMAL_STEP)  # fmt: skip
    if "terrain" in children:
        add("terrain", "elevation and slope beside the series", terrain=True)
    if WEATHER in children and "terrain" in children:
        add("weather and terrain", "both inputs", weather=True, terrain=True)
    if shapes:
        add("shape of parcels", "perimeter, area and cover ratio", geometry=True)
    further = tuple(name for name in (WEATHER, "terrain") if name in children)
    if further:
        out.append(
            Candidate(
                name=f"{FOREST}, {' and '.join(further)}",
                kind="forest",
                text=f"the forest, also on {' and '.join(further)}",
                children=(*(name for name in SERIES if name in children), *further),
            )
        )
    return out


_SIZES: Final = (
    "temporal", "pixel_mlp", "embedding", "attention_width", "heads", "key_width", "temporal_mlp",
)  # fmt: skip


def _described(config: TrainConfig, init: Init | None) -> str:
    network = config.network
    start = "" if init is None else ", from the encoders of another model"
    kind = f"pixel-set encoder, {network.temporal}, {network.fusion} fusion"
    if network.temporal == "presto":
        kind, start = "Presto", ", from weights that were trained before"
    return f"{kind}, by `cubecrop.fit`{start}"


@dataclass(frozen=True)
class _WiderForest:
    """A random forest on the features of another forest, and on weather and terrain as well."""

    narrow: Forest
    further: Sequence[str]
    trees: RandomForestClassifier

    @classmethod
    def fitted(
        cls,
        narrow: Forest,
        further: Sequence[str],
        samples: Sequence[Source],
        labels: Sequence[Sequence[str]],
        seed: int,
    ) -> _WiderForest:
        trees = []
        for source in samples:
            trees += [source] if isinstance(source, xr.DataTree) else list(source.trees())
        untrained = cls(narrow, further, RandomForestClassifier(_TREES, random_state=seed))
        features = np.concatenate([untrained.features(tree) for tree in trees])
        index = np.array([narrow.nomenclature.index(text) for part in labels for text in part])
        used = np.isfinite(features).any(axis=1)
        untrained.trees.fit(features[used], index[used])
        return untrained

    def features(self, tree: xr.DataTree) -> NDArray[np.float64]:
        """Features (parcel, feature): parcel means, then those of weather and terrain."""
        parts = [parcel_means(tree, bands=self.narrow.bands, step=self.narrow.step)]
        for name in self.further:
            if name not in tree.children:
                raise ModelMismatchError(f"samples have no {name!r}, which the forest needs.")
            values = tree.children[name].to_dataset(inherit=False)[name]
            means = values.mean("pixel") if "pixel" in values.dims else _by_month(values)
            parts.append(means.transpose("parcel", ...).to_numpy().reshape(len(values), -1))
        return np.concatenate(parts, axis=1)

    def predict_proba(self, samples: xr.DataTree) -> xr.DataArray:
        features = self.features(samples)
        if features.shape[1] != self.trees.n_features_in_:
            raise ModelMismatchError(
                f"samples give {features.shape[1]} features, the forest was trained on "
                f"{self.trees.n_features_in_}."
            )
        out = np.zeros((len(features), len(self.narrow.nomenclature)), dtype=np.float32)
        out[:, self.trees.classes_] = self.trees.predict_proba(features)
        coords: Mapping[str, Any] = {
            "parcel": samples["parcel"], "crop": self.narrow.nomenclature.names,
        }  # fmt: skip
        return xr.DataArray(out, dims=("parcel", "crop"), coords=coords, name="probability")


def _by_month(weather: xr.DataArray) -> xr.DataArray:
    """Mean of each month of the season, in order."""
    months = weather["time"].to_numpy().astype("datetime64[M]").astype(str)
    return weather.groupby(xr.DataArray(months, dims="time", name="month")).mean()
