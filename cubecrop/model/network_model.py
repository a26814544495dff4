"""A network with its specification, applied to pixel sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cubecrop.errors import ModelMismatchError
from cubecrop.model.arrays import season_of
from cubecrop.model.config import WEATHER
from cubecrop.model.data_check import arrays_for, check_data, select_bands
from cubecrop.model.inspection import attention_of, embedding_of
from cubecrop.model.predict import Predictor, usable_device
from cubecrop.model.spec import ModelSpec
from cubecrop.model.units_check import check_units

if TYPE_CHECKING:
    from cubecrop.model.applicability import TrainingSpace
    from cubecrop.model.arrays import SampleArrays
    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.networks import CropNetwork

__all__ = ["NetworkModel"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NetworkModel(ModelSpec):
    """What a network says of pixel sets that fit its specification; see `CropModel`.

    Parameters
    ----------
    network, training_space, nomenclature, season_window and so on
        As for `CropModel`.
    """

    config: NetworkConfig = field(init=False)
    network: CropNetwork
    training_space: TrainingSpace | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", self.network.config)
        super().__post_init__()

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
