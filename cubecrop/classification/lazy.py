"""Apply a kernel to lazy arrays of pixels or parcels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
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
    distant: bool = False,
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
        Number of columns of counts that the kernel returns after the probabilities.
    distant : bool, default False
        Whether a last column is the dissimilarity to the training parcels.
    """
    n_classes = len(model.nomenclature)
    options = {
        "names": tuple(arguments),
        "reference": handle_to(model),
        "inputs": inputs,
        "n_classes": n_classes,
        "device": device,
        "distant": distant,
    }
    width = n_classes + n_counts + distant
    if any(isinstance(array.data, da.Array) for array, _ in arguments.values()):
        return _in_blocks(kernel, arguments, width, options)
    probability: xr.DataArray = xr.apply_ufunc(
        kernel,
        *(array for array, _ in arguments.values()),
        input_core_dims=[dims for _, dims in arguments.values()],
        output_core_dims=[["crop"]],
        exclude_dims=set(changing),
        kwargs=options,
    )
    return probability


def _in_blocks(
    kernel: Callable[..., np.ndarray],
    arguments: Mapping[str, Argument],
    width: int,
    options: Mapping[str, object],
) -> xr.DataArray:
    """Apply a kernel to each block of the common dims.

    `xarray.apply_ufunc` would let Dask concatenate the blocks along a kernel's own dims. There is
    one, so that would only copy it, and a series takes most of a thread's memory.
    """
    pairs: list[Any] = []
    loop: list[str] = []
    for name, (array, dims) in arguments.items():
        own = [dim for dim in array.dims if dim not in dims]
        loop += [str(dim) for dim in own if dim not in loop]
        ordered = array.transpose(*own, *dims).chunk(dict.fromkeys(dims, -1))
        # Dims of one name have other lengths in other arguments.
        pairs += [ordered.data, (*own, *(f"{name}:{dim}" for dim in dims))]
    columns = da.blockwise(
        _apply,
        (*loop, "crop"),
        *pairs,
        new_axes={"crop": width},
        dtype=np.float32,
        meta=np.empty((0,) * (len(loop) + 1), np.float32),
        kernel=kernel,
        options=dict(options),
    )
    return xr.DataArray(columns, dims=(*loop, "crop"))


def _apply(
    *blocks: Any,  # noqa: ANN401
    kernel: Callable[..., np.ndarray],
    options: Mapping[str, Any],
) -> np.ndarray:
    """Call a kernel with arrays; Dask passes a list of blocks for each of the kernel's own dims."""
    arrays = []
    for block in blocks:
        while isinstance(block, list):
            (block,) = block
        arrays.append(block)
    return kernel(*arrays, **options)
