"""Batches of series as tensors, and the resampling of a series to other dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Batch", "Series", "interpolate", "resample_thermal"]


@dataclass(frozen=True, slots=True)
class Series:
    """A batch of pixel sets of one satellite series or of weather.

    Parameters
    ----------
    values : Tensor
        (batch, time, pixel, band) float32 in the sensor's unit; any value where not valid. Or
        packed, (valid pixel, band), in order: training draws only valid pixels, so that nothing
        is computed for the others.
    valid : Tensor
        (batch, time, pixel) bool.
    days : Tensor
        (batch, time) float32, days since the season's start.
    thermal : Tensor, optional
        (batch, time) float32, degree days since the season's start.
    """

    values: Tensor
    valid: Tensor
    days: Tensor
    thermal: Tensor | None = None

    def take(self, index: Tensor | slice) -> Series:
        """Some members, by mask or position."""
        if self.packed:
            return self.spread().take(index)
        thermal = None if self.thermal is None else self.thermal[index]
        valid, days = self.valid[index], self.days
        # A stride of 0 marks days that all members share; the result keeps the mark.
        days = days[:1].expand(len(valid), -1) if days.stride(0) == 0 else days[index]
        return Series(self.values[index], valid, days, thermal)

    @property
    def packed(self) -> bool:
        """Whether ``values`` are packed, (valid pixel, band)."""
        return self.values.dim() == 2

    def spread(self) -> Series:
        """The same series with unpacked values (batch, time, pixel, band), 0 where not valid."""
        if not self.packed:
            return self
        values = self.values.new_zeros(*self.valid.shape, self.values.shape[1])
        values[self.valid] = self.values
        return replace(self, values=values)

    def keep(self, members: Tensor) -> Series:
        """Mask all pixels of the members outside a mask (batch,) bool; no member is removed."""
        valid = self.valid & members[:, None, None]
        if not self.packed:
            return replace(self, valid=valid)
        return replace(self, values=self.values[valid[self.valid]], valid=valid)

    def to(self, device: str | torch.device) -> Series:
        """The same series on a device."""
        thermal = None if self.thermal is None else self.thermal.to(device)
        return Series(self.values.to(device), self.valid.to(device), self.days.to(device), thermal)

    @property
    def seen(self) -> Tensor:
        """Which members have a valid date: (batch,) bool."""
        return self.valid.flatten(1).any(dim=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """Input of a network: series by name, and features of the parcels.

    ``geometry`` and ``terrain`` are (batch, feature) float32, NaN where unknown.
    """

    series: Mapping[str, Series]
    geometry: Tensor | None = None
    terrain: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.series.values())).valid)

    def take(self, index: Tensor) -> Batch:
        """Some members, by mask or position."""
        return Batch(
            {name: series.take(index) for name, series in self.series.items()},
            None if self.geometry is None else self.geometry[index],
            None if self.terrain is None else self.terrain[index],
        )

    def to(self, device: str | torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            {name: series.to(device) for name, series in self.series.items()},
            None if self.geometry is None else self.geometry.to(device),
            None if self.terrain is None else self.terrain.to(device),
        )


def interpolate(series: Series, days: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate each pixel linearly between its valid dates, to other days.

    Before the first and after the last valid date, the value of the nearest date is taken.

    Parameters
    ----------
    series : Series
        (batch, time, pixel, band).
    days : Tensor
        (batch, other) float32.

    Returns
    -------
    values : Tensor
        (batch, other, pixel, band), 0 where the pixel has no valid date.
    known : Tensor
        (batch, pixel) bool.
    """
    order = series.days.argsort(dim=1)  # (batch, time)
    when = series.days.gather(1, order)
    pick = order[:, :, None].expand_as(series.valid)
    valid = series.valid.gather(1, pick)  # (batch, time, pixel)
    bands = series.values.shape[-1]
    values = series.values.gather(1, pick[..., None].expand(-1, -1, -1, bands))
    values = torch.where(valid[..., None], values, 0.0)
    n = when.shape[1]
    index = torch.arange(n, device=when.device)[None, :, None]
    before = torch.where(valid, index, -1).cummax(dim=1).values  # last valid date up to each
    after = torch.where(valid, index, n).flip(1).cummin(dim=1).values.flip(1)
    at = torch.searchsorted(when.contiguous(), days.contiguous(), right=True)  # (batch, other)
    shape = (-1, -1, valid.shape[2])
    left = before.gather(1, (at - 1).clamp_min(0)[:, :, None].expand(shape))
    left = torch.where((at > 0)[:, :, None], left, -1)
    right = after.gather(1, at.clamp_max(n - 1)[:, :, None].expand(shape))
    right = torch.where((at < n)[:, :, None], right, n)
    known = valid.any(dim=1)  # (batch, pixel)
    left, right = torch.where(left < 0, right, left), torch.where(right > n - 1, left, right)
    left, right = left.clamp(0, n - 1), right.clamp(0, n - 1)
    start = when.gather(1, left.flatten(1)).view_as(left)
    gap = when.gather(1, right.flatten(1)).view_as(left) - start
    share = ((days[:, :, None] - start) / gap.clamp_min(1e-6)).clamp(0, 1)[..., None]
    earlier = values.gather(1, left[..., None].expand(-1, -1, -1, bands))
    later = values.gather(1, right[..., None].expand(-1, -1, -1, bands))
    return earlier + share * (later - earlier), known


def resample_thermal(series: Series, step: float) -> Series:
    """Resample a series to equal steps of thermal time: the mean of each step's valid values.

    Parameters
    ----------
    series : Series
        With ``thermal``.
    step : float
        Degree days.

    Returns
    -------
    Series
        (batch, step, pixel, band); ``days`` and ``thermal`` are means of the dates in a
        step that have a valid pixel.
    """
    if series.thermal is None:
        raise ValueError("series has no thermal time")
    thermal = series.thermal
    dated = series.valid.any(dim=2)  # (batch, time)
    bin_of = (torch.where(dated, thermal, 0.0) / step).floor().long().clamp_min(0)
    n = int(bin_of.max()) + 1
    batch, _, pixels, bands = series.values.shape
    flat = (torch.arange(batch, device=bin_of.device)[:, None] * n + bin_of).flatten()
    weight = series.valid.to(series.values.dtype)  # (batch, time, pixel)
    values = torch.where(series.valid[..., None], series.values, 0.0)
    total = values.new_zeros(batch * n, pixels, bands).index_add(0, flat, values.flatten(0, 1))
    count = weight.new_zeros(batch * n, pixels).index_add(0, flat, weight.flatten(0, 1))
    dated_weight = dated.to(weight.dtype).flatten()
    dates = dated_weight.new_zeros(batch * n).index_add(0, flat, dated_weight).clamp_min(1)

    def mean_date(times: Tensor) -> Tensor:
        summed = dated_weight.new_zeros(batch * n).index_add(
            0, flat, torch.where(dated, times, 0.0).flatten()
        )
        return (summed / dates).view(batch, n)

    mean = total / count.clamp_min(1)[..., None]
    return Series(
        mean.view(batch, n, pixels, bands),
        (count > 0).view(batch, n, pixels),
        mean_date(series.days),
        mean_date(thermal),
    )
