"""A kernel applied to whatever Dask holds: what pixels and parcels have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from cubecrop.classification.kernels import Inputs
from cubecrop.model import CropModel, days_since_start, reference_to, season_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ["Argument", "apply_model", "inputs_of"]

#: An array, and its dims that a kernel takes whole.
Argument = tuple[xr.DataArray, list[str]]


def inputs_of(tree: xr.DataTree, model: CropModel, sensors: Sequence[str]) -> Inputs:
    """What a kernel must know of the arrays: days, variables, and which there are."""
    span, config = season_of(tree), model.config
    weather = tree["weather"].dataset["weather"] if config.takes_weather else None
    return Inputs(
        days={name: days_since_start(tree[name]["time"].to_numpy(), span) for name in sensors},
        coverage=dict(model.coverage),
        weather_days=(
            None if weather is None else days_since_start(weather["time"].to_numpy(), span)
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
    beside: int = 0,
) -> xr.DataArray:
    """What a kernel of `cubecrop.classification.kernels` gives, (…, crop) float32, lazily.

    Parameters
    ----------
    kernel : callable
        `pixel_block` or `parcel_block`.
    arguments : mapping of str to (xarray.DataArray, list of str)
        By the names that the kernel knows them by.
    model : CropModel
        The model; it goes into the graph by its digest.
    inputs : Inputs
        What the arrays are.
    device : str or None
        Where to compute.
    changing : collection of str
        Dims that are taken whole and whose length differs from array to array.
    beside : int, default 0
        Columns that the kernel gives after the probabilities.
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
        dask_gufunc_kwargs={"output_sizes": {"crop": n_classes + beside}},
        kwargs={
            "names": tuple(arguments),
            "reference": reference_to(model),
            "inputs": inputs,
            "n_classes": n_classes,
            "device": device,
        },
    )
    return probability
