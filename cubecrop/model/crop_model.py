"""CropModel: a network with everything that is needed to use it right."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
import xarray as xr
from safetensors import SafetensorError

from cubecrop.errors import ModelFormatError, ModelMismatchError, OutputError
from cubecrop.files import check_free, new_folder
from cubecrop.model.arrays import SampleArrays, sample_arrays, season_of
from cubecrop.model.calibration import Calibration
from cubecrop.model.config import WEATHER, NetworkConfig
from cubecrop.model.inspection import attention_of, embedding_of
from cubecrop.model.mlm import mlm_item
from cubecrop.model.networks import CropNetwork
from cubecrop.model.predict import Predictor
from cubecrop.model.published import Normalisation, read_reference
from cubecrop.model.record import TrainingRecord, Window, window_text
from cubecrop.nomenclature import Nomenclature
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MODEL_FILES", "CropModel", "ModelReference", "TrainingRecord", "default_device"]

MODEL_FILES = ("model.safetensors", "model.json")
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class CropModel:
    """A trained network, its classes, and what data it was made for.

    Parameters
    ----------
    network : CropNetwork
        The network, on the processor, with its normalisation.
    nomenclature : Nomenclature
        Classes by index of the network's output.
    season_window : tuple
        First and last day as (years from the harvest year, month, day); see `Season.window`.
        None for published weights, which know of no season.
    radar_calibration : str
        ``gamma0`` or ``sigma0``; empty for a network without radar.
    radar_orbits : tuple of str
        Orbit states in training.
    composite : str
        ``dekad``, ``month``, or empty for series of single dates.
    n_pixels : int
        Pixels drawn from a parcel to predict it.
    training : TrainingRecord
        What it learned from.
    scores : mapping
        Part ("train", "held out") to score name to value.
    calibration : Calibration, optional
        Temperature of the probabilities, and the threshold of crop sets.
    name, licence : str
        For people.
    """

    network: CropNetwork
    nomenclature: Nomenclature
    season_window: Window | None
    radar_calibration: str = ""
    radar_orbits: tuple[str, ...] = ()
    composite: str = ""
    n_pixels: int = 64
    training: TrainingRecord = field(default_factory=TrainingRecord)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    calibration: Calibration | None = None
    name: str = "crop model"
    licence: str = "unspecified"

    def __post_init__(self) -> None:
        if len(self.nomenclature) != self.config.n_classes:
            raise ModelFormatError(
                f"network tells {self.config.n_classes} classes apart, the nomenclature has "
                f"{len(self.nomenclature)}."
            )

    @property
    def config(self) -> NetworkConfig:
        """Sensors, bands and sizes of the network."""
        return self.network.config

    @property
    def sensors(self) -> tuple[str, ...]:
        """Children of a season cube that the network takes."""
        return tuple(sensor.name for sensor in self.config.sensors)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights and metadata: names exactly this model."""
        return _digest(self._weights(), self._metadata())

    def check(self, data: xr.DataTree) -> tuple[str, ...]:
        """Raise unless a season cube or pixel sets are what the model was made for.

        Looks at metadata alone.

        Returns
        -------
        tuple of str
            The model's sensors that the data has.

        Raises
        ------
        ModelMismatchError
            A sensor that may not be missing is absent, or bands, calibration, orbits or
            season window differ; the message says which.
        """
        if self.season_window is not None and (window := season_of(data).window) != (
            self.season_window
        ):
            raise ModelMismatchError(
                f"data spans the season {window_text(window)}, the model was trained on "
                f"{window_text(self.season_window)}. Open the season with the same window, or "
                "train a model for this one."
            )
        if (composite := str(data.attrs.get("composite", ""))) != self.composite:
            raise ModelMismatchError(
                f"data is composited by {composite or 'nothing'!r}, the model was trained on "
                f"series composited by {self.composite or 'nothing'!r}. Open the season with "
                f"`composite={self.composite or None!r}`."
            )
        present = tuple(name for name in self.sensors if name in data.children)
        for name in set(self.sensors) - set(present) - set(self.config.may_be_missing):
            raise ModelMismatchError(
                f"data has no {name!r}, which the model needs (it has "
                f"{sorted(data.children)}). Use an archive that has it, or train with "
                f"`TrainConfig(may_be_missing=({name!r},))`."
            )
        if not present:
            raise ModelMismatchError(f"data has none of the model's sensors {self.sensors}.")
        for sensor in self.config.sensors:
            if sensor.name in present:
                self._check_sensor(data.children[sensor.name], sensor.name, sensor.bands)
        self._check_features(data)
        return present

    def _check_features(self, data: xr.DataTree) -> None:
        """Raise unless weather and terrain are there with the variables that are needed."""
        weather = self.config.weather_variables
        if self.config.thermal_source:
            weather = (*weather, *self.config.thermal_source.split(", "))
        for child, needed in ((WEATHER, weather), ("terrain", self.config.terrain_variables)):
            if not needed:
                continue
            if child not in data.children:
                raise ModelMismatchError(
                    f"data has no {child!r}, which the model needs (it has "
                    f"{sorted(data.children)}). Use an archive that has it."
                )
            seen = [str(name) for name in data.children[child]["variable"].to_numpy()]
            if missing := sorted(set(needed) - set(seen)):
                raise ModelMismatchError(
                    f"{child} has variables {seen}, the model needs {sorted(set(needed))}; "
                    f"{missing} are missing."
                )

    def _check_sensor(self, node: xr.DataTree, name: str, bands: tuple[str, ...]) -> None:
        seen = tuple(str(band) for band in node["band"].to_numpy())
        if missing := [band for band in bands if band not in seen]:
            raise ModelMismatchError(
                f"{name} has bands {list(seen)}, the model needs {list(bands)}; {missing} are "
                "missing."
            )
        if name != "sentinel1":
            return
        calibration = str(node[SERIES[name]].attrs.get("calibration", ""))
        if calibration != self.radar_calibration:
            raise ModelMismatchError(
                f"radar is calibrated as {calibration or 'unknown'!r}, the model was trained on "
                f"{self.radar_calibration!r}: the two differ by decibels. Use an archive of the "
                "same calibration, or train on this one."
            )
        if "orbit_state" in node.coords and self.radar_orbits:
            orbits = {str(state) for state in node["orbit_state"].to_numpy()}
            if orbits.isdisjoint(self.radar_orbits):
                raise ModelMismatchError(
                    f"radar is of {sorted(orbits)} passes, the model was trained on "
                    f"{sorted(self.radar_orbits)} ones, which look from the other side."
                )

    def predict_proba(self, samples: xr.DataTree, *, device: str | None = None) -> xr.DataArray:
        """Class probabilities of pixel sets; reads their pixels.

        Parameters
        ----------
        samples : xarray.DataTree
            Pixel sets; see `cubecrop.schema`.
        device : str, optional
            ``"cpu"`` or ``"cuda"``; by default a graphics card where there is one.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; NaN for a parcel without
            an observation that the model needs.

        Raises
        ------
        ModelMismatchError
            The data is not what the model was made for.
        """
        arrays = self._arrays(samples)
        values = self.predictor(device)(arrays)
        return self._by_crop(values, samples, "probability")

    def logits(self, samples: xr.DataTree, *, device: str | None = None) -> xr.DataArray:
        """What the network gives before it becomes probabilities; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; NaN for a parcel without
            an observation that the model needs. Not divided by the model's temperature.
        """
        values = Predictor(self.network, device or default_device()).logits(self._arrays(samples))
        return self._by_crop(values, samples, "logits")

    def embed(self, samples: xr.DataTree, *, device: str | None = None) -> xr.DataArray:
        """Embeddings of parcels, for clustering and search; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, feature) float32: what the last layers classify, the summaries of the
            series side by side in late and decision fusion. NaN for a parcel that cannot be
            predicted.
        """
        found = embedding_of(self.network, self._arrays(samples), device or default_device())
        return xr.DataArray(
            found,
            dims=("parcel", "feature"),
            coords={"parcel": samples["parcel"]} if "parcel" in samples.coords else None,
            name="embedding",
        )

    def attention(self, samples: xr.DataTree, *, device: str | None = None) -> xr.DataTree:
        """Which dates the network looks at; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataTree
            A child a series with ``attention (parcel, time, head)`` float32, 0 at masked
            dates. It sums to 1 over a series' dates, in early and mid fusion over those of
            all series. NaN for a parcel that cannot be predicted.

        Raises
        ------
        ModelMismatchError
            The network does not attend (TempCNN, GRU, Transformer), or resamples dates.
        """
        found = attention_of(self.network, self._arrays(samples), device or default_device())
        nodes = {}
        for name, values in found.items():
            coords: dict[str, Any] = {}
            if "parcel" in samples.coords:
                coords["parcel"] = samples["parcel"]
            if name in samples.children and samples[name].sizes["time"] == values.shape[1]:
                coords["time"] = ("time", samples[name]["time"].to_numpy())
            nodes[name] = xr.Dataset(
                {"attention": (("parcel", "time", "head"), values)}, coords=coords
            )
        return xr.DataTree.from_dict(nodes, name="attention")

    def predictor(self, device: str | None = None) -> Predictor:
        """The network made ready, with the model's temperature."""
        temperature = self.calibration.temperature if self.calibration else 1.0
        return Predictor(self.network, device or default_device(), temperature=temperature)

    def crop_sets(self, samples: xr.DataTree, *, device: str | None = None) -> xr.DataArray:
        """Crops that a parcel may hold; reads the pixel sets.

        Of parcels like the validation parcels (same region, year and archive), a share of
        ``1 - calibration.alpha`` has its crop in the set. Elsewhere nothing is promised.

        Parameters
        ----------
        samples, device
            As for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) bool, coord ``crop`` = class names. The most probable crop is in;
            a parcel without prediction has an empty set.

        Raises
        ------
        ModelMismatchError
            The model has no calibration, or the data is not what it was made for.
        """
        if self.calibration is None:
            raise ModelMismatchError(
                "the model has no crop sets: no validation parcels were kept from its training. "
                "Train it with `TrainConfig(validation=0.15)`."
            )
        probability = self.predict_proba(samples, device=device)
        inside = self.calibration.crop_sets(probability.to_numpy())
        return probability.copy(data=inside).rename("crop_set")

    def select_bands(self, tree: xr.DataTree) -> xr.DataTree:
        """The tree with each sensor's bands in the model's order."""
        bands = {s.name: list(s.bands) for s in self.config.sensors}
        nodes = {"/": tree.to_dataset()}
        for name in tree.children:
            node = tree.children[name].to_dataset(inherit=False)
            ordered = name not in bands or node["band"].to_numpy().tolist() == bands[name]
            nodes[name] = node if ordered else node.sel(band=bands[name])
        return xr.DataTree.from_dict(nodes, name=tree.name)

    def _by_crop(self, values: Any, samples: xr.DataTree, name: str) -> xr.DataArray:  # noqa: ANN401
        coords: dict[str, Any] = {"crop": self.nomenclature.names}
        if "parcel" in samples.coords:
            coords["parcel"] = samples["parcel"]
        return xr.DataArray(values, dims=("parcel", "crop"), coords=coords, name=name)

    def _arrays(self, samples: xr.DataTree) -> SampleArrays:
        """What the network takes of pixel sets, once they are known to be what it needs."""
        samples = self._with_bands(samples)
        self.check(samples)
        arrays = sample_arrays(self.select_bands(samples), self.config)
        if n := self.config.n_dates:
            for name, one in arrays.series.items():
                if len(one.days) != n or not one.valid.any(axis=2).all():
                    raise ModelMismatchError(
                        f"{name} has {len(one.days)} dates, some perhaps masked; these published "
                        f"weights are tied to {n} dates, all of them seen. Fill the gaps, or "
                        "train a model here, which takes any dates."
                    )
        return arrays

    def _with_bands(self, samples: xr.DataTree) -> xr.DataTree:
        """Samples whose bands are named: published weights know bands by position alone."""
        if self.season_window is not None:
            return samples
        nodes = {"/": samples.to_dataset()}
        for name in samples.children:
            nodes[name] = samples.children[name].to_dataset(inherit=False)
        for sensor in self.config.sensors:
            node = nodes.get(sensor.name)
            if node is None or "band" not in node.dims or node.sizes["band"] != len(sensor.bands):
                continue
            names = [str(n) for n in node["band"].to_numpy()] if "band" in node.coords else []
            if not set(names) & set(sensor.bands):
                nodes[sensor.name] = node.assign_coords(band=list(sensor.bands))
        return xr.DataTree.from_dict(nodes, name=samples.name)

    def reference(self) -> ModelReference:
        """What goes into a Dask graph in the model's place; writes an unsaved model to a cache."""
        home = _cache_folder() / self.digest
        if not home.exists():
            try:
                self.save(home)
            except OutputError:
                if not home.exists():  # else another thread or process was faster
                    raise
        return ModelReference(str(home), self.digest)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model to a folder, all of it or nothing.

        Parameters
        ----------
        path : path
            Folder to write: ``model.safetensors`` and ``model.json``, a STAC item with the
            machine learning model (MLM) extension.
        overwrite : bool, default False
            Replace a folder that holds a model and nothing else.

        Raises
        ------
        OutputError
            The folder is taken or cannot be written.
        """
        folder = Path(path)
        check_free(folder, files=MODEL_FILES, overwrite=overwrite)
        with new_folder(folder, files=MODEL_FILES, overwrite=overwrite) as staging:
            (staging / "model.safetensors").write_bytes(self._weights())
            item = mlm_item(self)
            item["properties"]["cubecrop:model"] = self._metadata()
            item["properties"]["cubecrop:digest"] = self.digest
            (staging / "model.json").write_text(json.dumps(item, indent=1), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, path: str | Path) -> CropModel:
        """Read a model that `save` wrote. Nothing in it is executed.

        Raises
        ------
        ModelFormatError
            The folder is not a model, is damaged, or was changed after it was written.
        """
        folder = Path(path)
        if missing := [name for name in MODEL_FILES if not (folder / name).is_file()]:
            raise ModelFormatError(
                f"{folder} is not a model: it lacks {missing}. Train one with "
                "`cubecrop train PARCELS --label COLUMN --year YEAR --archive ARCHIVE --out DIR`."
            )
        weights = (folder / "model.safetensors").read_bytes()
        try:
            properties = json.loads((folder / "model.json").read_text("utf-8"))["properties"]
            metadata, digest = properties["cubecrop:model"], properties["cubecrop:digest"]
            if metadata["format"] != _FORMAT:
                raise ModelFormatError(
                    f"{folder} is of model format {metadata['format']!r}, expected {_FORMAT}."
                )
            if _digest(weights, metadata) != digest:
                raise ModelFormatError(
                    f"{folder} is damaged: its files are not those that were written "
                    f"(digest {digest}). Copy the model again."
                )
            model = cls(network=_network(metadata["network"], weights), **_fields(metadata))
        except ModelFormatError:
            raise
        except (
            ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError,
        ) as error:  # fmt: skip
            raise ModelFormatError(f"{folder} is not a model: {error!r}.") from error
        return model

    def with_calibration(self, calibration: Calibration | None) -> CropModel:
        """The same model with another calibration."""
        return replace(self, calibration=calibration)

    @classmethod
    def from_reference(
        cls,
        folder: str | Path,
        *,
        normalisation: Normalisation | None = None,
        geometry_normalisation: Normalisation | None = None,
        fold: int = 1,
    ) -> CropModel:
        """Read weights that the reference code of PSE+TAE or PSE+L-TAE has trained.

        Parameters
        ----------
        folder : path
            What that code wrote: ``conf.json`` and ``Fold_1/model.pth.tar`` and so on.
        normalisation : tuple of arrays, optional
            Mean and deviation of each band, (band,), that its inputs were standardised by.
            Without it reflectance is taken as it is.
        geometry_normalisation : tuple of arrays, optional
            The same for the features of a parcel's shape.
        fold : int, default 1
            Which fold's weights.

        Returns
        -------
        CropModel
            Classes are named by their index; it takes the dates of the samples as days since
            the first of them.

        Raises
        ------
        ModelFormatError
            The folder is not such a one; the message says what is missing or does not fit.

        References
        ----------
        Garnot et al. 2020, arXiv:1911.07757; Garnot & Landrieu 2020, arXiv:2007.00586.
        """
        network = read_reference(
            Path(folder),
            fold=fold,
            normalisation=normalisation,
            geometry_normalisation=geometry_normalisation,
        )
        names = [str(index) for index in range(network.config.n_classes)]
        return cls(
            network=network,
            nomenclature=Nomenclature.from_names(names),
            season_window=None,
            name=f"published weights, fold {fold}",
        )

    def with_scores(self, scores: Mapping[str, Mapping[str, float]]) -> CropModel:
        """The same model with other scores."""
        return replace(self, scores=scores)

    def _weights(self) -> bytes:
        state = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        return safetensors.torch.save(state)

    def _metadata(self) -> dict[str, Any]:
        """All but the weights, as plain JSON types."""
        raw = {
            "format": _FORMAT,
            "name": self.name,
            "licence": self.licence,
            "network": self.config.to_dict(),
            "nomenclature": self.nomenclature.to_json(),
            "season_window": self.season_window,
            "radar_calibration": self.radar_calibration,
            "radar_orbits": self.radar_orbits,
            "composite": self.composite,
            "n_pixels": self.n_pixels,
            "training": asdict(self.training),
            "scores": self.scores,
            "calibration": asdict(self.calibration) if self.calibration else None,
        }
        plain: dict[str, Any] = json.loads(json.dumps(raw))
        return plain


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model by folder and digest: small enough for every task of a graph."""

    path: str
    digest: str

    def predictor(self, device: str | None = None) -> Predictor:
        """The model made ready, loaded once a process and device."""
        with _LOCK:  # two threads that ask at once share one load
            return _predictor(self, device or default_device())


_LOCK = threading.Lock()


@functools.lru_cache(maxsize=4)
def _predictor(reference: ModelReference, device: str) -> Predictor:
    model = CropModel.load(reference.path)
    if model.digest != reference.digest:
        raise ModelFormatError(
            f"{reference.path} holds model {model.digest[:12]}, expected "
            f"{reference.digest[:12]}: it was replaced after the graph was built."
        )
    return model.predictor(device)


def default_device() -> str:
    """``"cuda"`` where torch finds a graphics card, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "cubecrop" / "models"


def _digest(weights: bytes, metadata: Mapping[str, Any]) -> str:
    hashed = hashlib.sha256(weights)
    hashed.update(json.dumps(metadata, sort_keys=True).encode())
    return hashed.hexdigest()


def _network(config: dict[str, Any], weights: bytes) -> CropNetwork:
    network = CropNetwork(NetworkConfig.from_dict(config))
    try:
        network.load_state_dict(safetensors.torch.load(weights), strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise ModelFormatError(f"weights do not fit the network: {error}") from error
    if not all(bool(torch.isfinite(t).all()) for t in network.state_dict().values()):
        raise ModelFormatError("weights are not all finite.")
    return network.eval()


def _fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of CropModel from its metadata, with lists as tuples again."""
    window = metadata["season_window"]
    if window is not None:
        start, end = (tuple(int(v) for v in day) for day in window)
        window = start, end
    return {
        "name": str(metadata["name"]),
        "licence": str(metadata["licence"]),
        "nomenclature": Nomenclature.from_json(metadata["nomenclature"]),
        "season_window": window,
        "radar_calibration": str(metadata["radar_calibration"]),
        "radar_orbits": tuple(map(str, metadata["radar_orbits"])),
        "composite": str(metadata["composite"]),
        "n_pixels": int(metadata["n_pixels"]),
        "calibration": Calibration.from_dict(kept) if (kept := metadata["calibration"]) else None,
        "training": TrainingRecord.from_dict(metadata["training"]),
        "scores": {
            str(part): {str(k): float(v) for k, v in values.items()}
            for part, values in metadata["scores"].items()
        },
    }
