"""Apply a kernel to lazy arrays of pixels or parcels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cubecrop.classification.kernels import Inputs
from cubecrop.model import CropModel, days_since_start, handle_to, season_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ["Argument", "apply_model", "inputs_of"]

#: An array, and the dims that a kernel takes in one chunk.
Argument = tuple[xr.DataArray, list[str]]


def inputs_of(tree: xr.DataTree, model: CropModel, sensors: Sequence[str]) -> Inputs:
    """Metadata that a kernel needs about its arrays: days, weather variables and coverage."""
    season, config = season_of(tree), model.config
    weather = tree["weather"].dataset["weather"] if config.takes_weather else None
    return Inputs(
        days={name: days_since_start(tree[name]["time"].to_numpy(), season) for name in sensors},
        coverage=dict(model.coverage),
        weather_days=(
            None if weather is None else days_since_start(weather["time"].to_numpy(), season)
        ),
        weather_variables=(
            [] if weather is None else [str(name) for name in weather["variable"].to_numpy()]
        ),
    )


def apply_model(
    kernel: Callable[..., np.ndarray],
    arguments: Mapping[str, Argument],
    model: CropModel,
    *,
    inputs: Inputs,
    device: str | None,
    changing: Collection[str],
    n_counts: int = 0,
) -> xr.DataArray:
    """Apply a kernel of `cubecrop.classification.kernels` lazily: (…, crop) float32.

    Parameters
    ----------
    kernel : callable
        `pixel_block` or `parcel_block`.
    arguments : mapping of str to (xarray.DataArray, list of str)
        The arrays by the kernel's names for them.
    model : CropModel
        The model; the graph holds only its handle.
    inputs : Inputs
        Metadata of the arrays.
    device : str or None
        Device that computes.
    changing : collection of str
        Dims in one chunk whose lengths differ between arrays.
    n_counts : int, default 0
        Number of columns that the kernel returns after the probabilities.
    """
    n_classes = len(model.nomenclature)
    probability: xr.DataArray = xr.apply_ufunc(
        kernel,
        *(array for array, _ in arguments.values()),
        input_core_dims=[dims for _, dims in arguments.values()],
        output_core_dims=[["crop"]],
        exclude_dims=set(changing),
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"crop": n_classes + n_counts}},
        kwargs={
            "names": tuple(arguments),
            "reference": handle_to(model),
            "inputs": inputs,
            "n_classes": n_classes,
            "device": device,
        },
    )
    return probability
