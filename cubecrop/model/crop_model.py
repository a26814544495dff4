"""CropModel: a network with all that is needed to apply it correctly."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cubecrop.checks import check_path
from cubecrop.errors import ModelMismatchError
from cubecrop.files import check_free, new_folder
from cubecrop.model.arrays import season_of
from cubecrop.model.config import WEATHER
from cubecrop.model.data_check import arrays_for, check_data, select_bands
from cubecrop.model.description import describe, describe_html
from cubecrop.model.inspection import attention_of, embedding_of
from cubecrop.model.predict import Predictor, usable_device
from cubecrop.model.published import Normalisation, read_published
from cubecrop.model.shipped import DEFAULT, shipped_folder
from cubecrop.model.spec import ModelSpec
from cubecrop.model.spec_file import MODEL_FILES, model_files
from cubecrop.model.storage import digest_with, packed, unpacked
from cubecrop.model.units_check import check_units
from cubecrop.nomenclature import Nomenclature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cubecrop.model.applicability import TrainingSpace
    from cubecrop.model.arrays import SampleArrays
    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.knowledge_limits import KnowledgeLimits
    from cubecrop.model.networks import CropNetwork
    from cubecrop.model.probability_calibration import Calibration

__all__ = ["CropModel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CropModel(ModelSpec):
    """A trained network with its specification: its classes and the data that it needs.

    Parameters
    ----------
    network : CropNetwork
        The network on the CPU, with its normalisation. Its configuration becomes ``config``.
    parcels_seen : mapping
        Part ("train", "held out") to sorted fingerprints (parcel,) uint64 of its parcels, by
        id and place. A user who has the parcels can find those that were used in training.
        Empty if they were not recorded.
    training_space : TrainingSpace, optional
        Embeddings of training parcels, for `applicability`. They are the given network's: a
        model with other weights needs other embeddings, or None.
    nomenclature, season_window and so on
        As for `ModelSpec`.
    """

    config: NetworkConfig = field(init=False)
    network: CropNetwork
    parcels_seen: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)
    training_space: TrainingSpace | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", self.network.config)
        super().__post_init__()

    def __repr__(self) -> str:
        return describe(self, self.digest)

    def _repr_html_(self) -> str:
        return describe_html(self, self.digest)

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        network: CropNetwork,
        parcels_seen: Mapping[str, NDArray[np.uint64]],
        training_space: TrainingSpace | None,
    ) -> CropModel:
        """Join a specification and a network to a model."""
        values = {f.name: getattr(spec, f.name) for f in fields(ModelSpec) if f.name != "config"}
        return cls(
            network=network, parcels_seen=parcels_seen, training_space=training_space, **values
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights and metadata, which identifies the model."""
        return digest_with(self, self.network, self.parcels_seen, self.training_space)

    def check(self, data: xr.DataTree, *, allow_gaps: bool = False) -> tuple[str, ...]:
        """Raise unless a season cube or pixel sets are data that the model can take.

        Only metadata is read.

        Parameters
        ----------
        data : xarray.DataTree
            A season cube or pixel sets. Tables of samples do not list their acquisitions; their
            coverage of the season is not checked.
        allow_gaps : bool, default False
            Accept data that covers less of the season than the training data.

        Returns
        -------
        tuple of str
            The model's sensors that the data has.

        Raises
        ------
        ModelMismatchError
            A required sensor is absent; bands, radar calibration, orbits or season window
            differ; or too little of the season is covered. The message says which.
        """
        return check_data(self, data, allow_gaps=allow_gaps)

    def predict_proba(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """Class probabilities of pixel sets; reads their pixels.

        Parameters
        ----------
        samples : xarray.DataTree
            Pixel sets; see `cubecrop.schema`.
        allow_gaps : bool, default False
            Accept pixel sets that cover less of the season than the training data.
        device : str, optional
            ``"cpu"`` or ``"cuda"``; by default a graphics card if there is one.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; NaN for a parcel with fewer
            observations than the model needs, see `least_dates`.

        Raises
        ------
        ModelMismatchError
            The data does not fit the model; see `check`.
        """
        arrays = self._arrays(samples, allow_gaps=allow_gaps)
        values = self.predictor(device)(arrays)
        return self._by_crop(values, samples, "probability")

    def logits(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """Logits of pixel sets, from which probabilities are computed; reads their pixels.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; NaN for a parcel with fewer
            observations than the model needs. Not divided by the model's temperature.
        """
        arrays = self._arrays(samples, allow_gaps=allow_gaps)
        values = Predictor(self.network, usable_device(device)).logits(arrays)
        return self._by_crop(values, samples, "logits")

    def embed(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """Embeddings of parcels, for clustering and search; reads their pixels.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, feature) float32: the input of the last layers, which classify it. With late
            and decision fusion it holds the summaries of the series side by side. NaN for a
            parcel that cannot be predicted.
        """
        arrays = self._arrays(samples, allow_gaps=allow_gaps)
        embedding = embedding_of(self.network, arrays, usable_device(device))
        return xr.DataArray(
            embedding,
            dims=("parcel", "feature"),
            coords={"parcel": samples["parcel"]} if "parcel" in samples.coords else None,
            name="embedding",
        )

    def applicability(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """How unlike the training parcels each parcel is; reads the pixel sets.

        Outside of the area of applicability the model's scores promise nothing. Inside, its
        errors may still be more frequent than at home.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            ``dissimilarity (parcel)`` float32, in thresholds: above 1 is outside of the area of
            applicability. NaN for a parcel that cannot be predicted.

        Raises
        ------
        ModelMismatchError
            The model does not know its training parcels' embeddings.

        References
        ----------
        Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650.
        """
        if self.training_space is None:
            raise ModelMismatchError(
                "the model has no embeddings of its training parcels, so its area of "
                "applicability is unknown. Train it again with `fit`, on 20 parcels or more of "
                "two groups or more."
            )
        embedding = self.embed(samples, allow_gaps=allow_gaps, device=device)
        values = self.training_space.dissimilarity(embedding.to_numpy())
        return xr.DataArray(
            values, dims="parcel", coords=embedding.coords, name="dissimilarity",
            attrs={"units": "1"},
        )  # fmt: skip

    def attention(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataTree:
        """Attention of the network to each date; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataTree
            One child per series with ``attention (parcel, time, head)`` float32, 0 at masked
            dates. It sums to 1 over a series' dates; with early and mid fusion, over the dates
            of all series. NaN for a parcel that cannot be predicted. The network averages
            weather over steps; its dates are the middles of these steps.

        Raises
        ------
        ModelMismatchError
            The network has no attention by date (TempCNN, GRU, Transformer), or resamples dates.
        """
        arrays = self._arrays(samples, allow_gaps=allow_gaps)
        attention = attention_of(self.network, arrays, usable_device(device))
        nodes = {}
        for name, values in attention.items():
            coords: dict[str, Any] = {}
            if "parcel" in samples.coords:
                coords["parcel"] = samples["parcel"]
            if name == WEATHER:
                start = np.datetime64(season_of(self.select_bands(samples)).start, "ns")
                hours = np.round(arrays.series[name].days * 24).astype("timedelta64[h]")
                coords["time"] = ("time", start + hours)
            else:
                coords["time"] = ("time", samples[name]["time"].to_numpy())
            nodes[name] = xr.Dataset(
                {"attention": (("parcel", "time", "head"), values)}, coords=coords
            )
        return xr.DataTree.from_dict(nodes, name="attention")

    def predictor(self, device: str | None = None) -> Predictor:
        """A `Predictor` of the network with the model's temperature."""
        temperature = self.calibration.temperature if self.calibration else 1.0
        return Predictor(self.network, usable_device(device), temperature=temperature)

    def crop_sets(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """The set of crops that each parcel may hold; reads the pixel sets.

        For a share of ``1 - calibration.alpha`` of parcels like the validation parcels (same
        region, year and archive), the set contains the true crop. For other parcels there is no
        guarantee.

        Parameters
        ----------
        samples, allow_gaps, device
            As for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) bool, coord ``crop`` = class names. The set contains the most probable
            crop; a parcel without prediction has an empty set.

        Raises
        ------
        ModelMismatchError
            The model has no probability calibration, or the data does not fit it.
        """
        if self.calibration is None:
            raise ModelMismatchError(
                "the model has no crop sets: it was trained without validation parcels. "
                "Train it with `TrainConfig(validation=0.15)`, or calibrate it with "
                "`model.with_calibration(cubecrop.evaluation.calibrate_on_folds(samples, labels))`."
            )
        probability = self.predict_proba(samples, allow_gaps=allow_gaps, device=device)
        inside = self.calibration.crop_sets(probability.to_numpy())
        return probability.copy(data=inside).rename("crop_set")

    def select_bands(self, tree: xr.DataTree) -> xr.DataTree:
        """The tree with each sensor's bands in the model's order, and in its season window."""
        return select_bands(self, tree)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model to a folder; if that fails, nothing is left there.

        Parameters
        ----------
        path : path
            Folder to write: ``model.safetensors`` and ``model.json``, a STAC item with the
            machine learning model (MLM) extension.
        overwrite : bool, default False
            Replace a folder that holds only a model.

        Raises
        ------
        OutputError
            The folder exists already or cannot be written.
        """
        folder = check_path("path", path)
        check_free(folder, files=MODEL_FILES, overwrite=overwrite)
        with new_folder(folder, files=MODEL_FILES, overwrite=overwrite) as staging:
            files = packed(self, self.network, self.parcels_seen, self.training_space)
            for name, content in files.items():
                (staging / name).write_bytes(content)
        return folder

    @classmethod
    def load(cls, path: str | Path) -> CropModel:
        """Read a model that `save` wrote. Nothing in it is executed.

        Raises
        ------
        ModelFormatError
            The folder is not a model, is damaged, or was changed after it was written.
        """
        return cls.of(*unpacked(model_files(path), path))

    @classmethod
    def default(cls) -> CropModel:
        """The model that is part of the package, used where no model is given.

        Its classes are common crops and groups of crops. It was trained on points of a few
        regions, and is worse elsewhere than a model of your own region: `cubecrop models show
        default` prints its card, with its scores in regions that it had not seen.
        """
        return _shipped(DEFAULT)

    def with_calibration(self, calibration: Calibration | None) -> CropModel:
        """The same model with another calibration, and without limits, which depend on it."""
        return replace(self, calibration=calibration, limits=None)

    def with_limits(self, limits: KnowledgeLimits | None) -> CropModel:
        """The same model with other limits of its knowledge; see `cubecrop.training.fit_limits`.

        Raises
        ------
        ModelMismatchError
            The model has no embeddings of its training parcels.
        """
        if limits is not None and self.training_space is None:
            raise ModelMismatchError(
                "the model has no embeddings of its training parcels, which limits of its "
                "knowledge need. Train it again with `fit`."
            )
        return replace(self, limits=limits)

    @classmethod
    def from_reference(
        cls,
        folder: str | Path,
        *,
        normalisation: Normalisation | None = None,
        geometry_normalisation: Normalisation | None = None,
        fold: int = 1,
    ) -> CropModel:
        """Read weights that were trained with the published code of PSE+TAE or PSE+L-TAE.

        Parameters
        ----------
        folder : path
            Output of that code: ``conf.json``, ``Fold_1/model.pth.tar`` and so on.
        normalisation : tuple of arrays, optional
            Mean and standard deviation of each band, (band,), with which its inputs were
            standardised. By default reflectance is not standardised.
        geometry_normalisation : tuple of arrays, optional
            The same for the features of a parcel's shape.
        fold : int, default 1
            Number of the fold whose weights are read.

        Returns
        -------
        CropModel
            Its classes are named by their index. The position of a date is the number of days
            since the parcel's first valid date.

        Raises
        ------
        ModelFormatError
            The folder holds no such weights; the message says what is missing or does not fit.

        References
        ----------
        Garnot et al. 2020, arXiv:1911.07757; Garnot & Landrieu 2020, arXiv:2007.00586.
        """
        network = read_published(
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

    def _arrays(self, samples: xr.DataTree, *, allow_gaps: bool) -> SampleArrays:
        """The network's inputs from pixel sets that fit the model, also by their units."""
        arrays = arrays_for(self, samples, allow_gaps=allow_gaps)
        check_units(arrays, self.network)
        return arrays

    def _by_crop(self, values: Any, samples: xr.DataTree, name: str) -> xr.DataArray:  # noqa: ANN401
        coords: dict[str, Any] = {"crop": self.nomenclature.names}
        if "parcel" in samples.coords:
            coords["parcel"] = samples["parcel"]
        return xr.DataArray(values, dims=("parcel", "crop"), coords=coords, name=name)


@functools.cache
def _shipped(name: str) -> CropModel:
    """A model of the package, read once in a process."""
    return CropModel.load(shipped_folder(name))
