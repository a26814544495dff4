"""CropModel: a network with everything that is needed to use it right."""

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
from cubecrop.model.inspection import attention_of, embedding_of
from cubecrop.model.predict import Predictor, usable_device
from cubecrop.model.published import Normalisation, read_reference
from cubecrop.model.spec import ModelSpec
from cubecrop.model.spec_file import MODEL_FILES, model_files
from cubecrop.model.storage import digest_with, packed, unpacked
from cubecrop.model.suitability import arrays_for, check_data, select_bands
from cubecrop.model.telling import describe, describe_html
from cubecrop.nomenclature import Nomenclature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cubecrop.model.calibration import Calibration
    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.networks import CropNetwork

__all__ = ["CropModel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CropModel(ModelSpec):
    """A trained network with its specification: its classes, and what data it was made for.

    Parameters
    ----------
    network : CropNetwork
        The network, on the processor, with its normalisation; its configuration is that of the
        specification.
    parcels_seen : mapping
        Part ("train", "held out") to sorted fingerprints (parcel,) uint64 of its parcels, by
        id and place: whoever has the parcels can tell which of them the model knows. Empty
        where it was not recorded.
    nomenclature, season_window and so on
        As for `ModelSpec`.
    """

    config: NetworkConfig = field(init=False)
    network: CropNetwork
    parcels_seen: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)

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
    ) -> CropModel:
        """A model of a specification and a network."""
        values = {f.name: getattr(spec, f.name) for f in fields(ModelSpec) if f.name != "config"}
        return cls(network=network, parcels_seen=parcels_seen, **values)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights and metadata: names exactly this model."""
        return digest_with(self, self.network, self.parcels_seen)

    def check(self, data: xr.DataTree, *, allow_gaps: bool = False) -> tuple[str, ...]:
        """Raise unless a season cube or pixel sets are what the model was made for.

        Looks at metadata alone.

        Parameters
        ----------
        data : xarray.DataTree
            A season cube or pixel sets. Where these do not tell their acquisitions, as tables
            of samples do not, nothing is asked of the season that they cover.
        allow_gaps : bool, default False
            Go on where they cover less of the season than the model's training did.

        Returns
        -------
        tuple of str
            The model's sensors that the data has.

        Raises
        ------
        ModelMismatchError
            A sensor that may not be missing is absent, or bands, calibration, orbits or
            season window differ, or too little of the season is covered; the message says
            which.
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
            Go on where they cover less of the season than the model's training did.
        device : str, optional
            ``"cpu"`` or ``"cuda"``; by default a graphics card where there is one.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; NaN for a parcel without
            the observations that the model needs, see `least_dates`.

        Raises
        ------
        ModelMismatchError
            The data is not what the model was made for.
        """
        arrays = arrays_for(self, samples, allow_gaps=allow_gaps)
        values = self.predictor(device)(arrays)
        return self._by_crop(values, samples, "probability")

    def logits(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """What the network gives before it becomes probabilities; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; NaN for a parcel without
            the observations that the model needs. Not divided by the model's temperature.
        """
        arrays = arrays_for(self, samples, allow_gaps=allow_gaps)
        values = Predictor(self.network, usable_device(device)).logits(arrays)
        return self._by_crop(values, samples, "logits")

    def embed(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """Embeddings of parcels, for clustering and search; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataArray
            (parcel, feature) float32: what the last layers classify, the summaries of the
            series side by side in late and decision fusion. NaN for a parcel that cannot be
            predicted.
        """
        arrays = arrays_for(self, samples, allow_gaps=allow_gaps)
        found = embedding_of(self.network, arrays, usable_device(device))
        return xr.DataArray(
            found,
            dims=("parcel", "feature"),
            coords={"parcel": samples["parcel"]} if "parcel" in samples.coords else None,
            name="embedding",
        )

    def attention(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataTree:
        """Which dates the network looks at; reads the pixel sets.

        Parameters and errors as for `predict_proba`.

        Returns
        -------
        xarray.DataTree
            A child a series with ``attention (parcel, time, head)`` float32, 0 at masked
            dates. It sums to 1 over a series' dates, in early and mid fusion over those of
            all series. NaN for a parcel that cannot be predicted. The dates of weather are
            the middles of the steps that the network averages it over.

        Raises
        ------
        ModelMismatchError
            The network does not attend (TempCNN, GRU, Transformer), or resamples dates.
        """
        arrays = arrays_for(self, samples, allow_gaps=allow_gaps)
        found = attention_of(self.network, arrays, usable_device(device))
        nodes = {}
        for name, values in found.items():
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
        """The network made ready, with the model's temperature."""
        temperature = self.calibration.temperature if self.calibration else 1.0
        return Predictor(self.network, usable_device(device), temperature=temperature)

    def crop_sets(
        self, samples: xr.DataTree, *, allow_gaps: bool = False, device: str | None = None
    ) -> xr.DataArray:
        """Crops that a parcel may hold; reads the pixel sets.

        Of parcels like the validation parcels (same region, year and archive), a share of
        ``1 - calibration.alpha`` has its crop in the set. Elsewhere nothing is promised.

        Parameters
        ----------
        samples, allow_gaps, device
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
        probability = self.predict_proba(samples, allow_gaps=allow_gaps, device=device)
        inside = self.calibration.crop_sets(probability.to_numpy())
        return probability.copy(data=inside).rename("crop_set")

    def select_bands(self, tree: xr.DataTree) -> xr.DataTree:
        """The tree with each sensor's bands in the model's order, and in its season window."""
        return select_bands(self, tree)

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
        folder = check_path("path", path)
        check_free(folder, files=MODEL_FILES, overwrite=overwrite)
        with new_folder(folder, files=MODEL_FILES, overwrite=overwrite) as staging:
            for name, content in packed(self, self.network, self.parcels_seen).items():
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
            Classes are named by their index; it takes the dates of a parcel as days since
            the first valid of them.

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

    def _by_crop(self, values: Any, samples: xr.DataTree, name: str) -> xr.DataArray:  # noqa: ANN401
        coords: dict[str, Any] = {"crop": self.nomenclature.names}
        if "parcel" in samples.coords:
            coords["parcel"] = samples["parcel"]
        return xr.DataArray(values, dims=("parcel", "crop"), coords=coords, name=name)
