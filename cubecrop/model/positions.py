"""Positions of dates in time, and the sinusoids that networks know them by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from cubecrop.model.layers import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cubecrop.model.config import NetworkConfig
    from cubecrop.model.fast.gathering import Gathered
    from cubecrop.model.series import Series

__all__ = [
    "Positions", "add_positions", "joined", "numbers_of", "positions", "positions_of", "sinusoid",
]  # fmt: skip

#: Thermal time stands still in winter; a tenth of the days beside a tenth of the degree days
#: keeps winter's dates apart and weighs little against a summer's two thousand.
_THERMAL_UNIT = 10.0


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of dates: ``numbers`` (batch, time), or (1, time) where members share them.

    Where members have some of the dates alone, ``dates`` (batch, some dates) says which of
    shared ones. ``known`` keeps tables for others with the same numbers.
    """

    numbers: Tensor
    dates: Tensor | None = None
    known: dict[tuple[int, float], Tensor] = field(default_factory=dict)

    def table(self, channels: int, period: float) -> Tensor:
        """Sinusoids (batch or 1, time, channel) of the dates that members have."""
        return self.at_dates(self.sinusoids(channels, period))

    def sinusoids(self, channels: int, period: float) -> Tensor:
        """Sinusoids (batch or 1, time, channel) of all dates."""
        found = self.known.get((channels, period))
        if found is None:
            found = self.known[channels, period] = sinusoid(self.numbers, channels, period)
        return found

    def at_dates(self, table: Tensor) -> Tensor:
        """What stands in a table (batch or 1, time, feature) at the dates that members have."""
        return table if self.dates is None else functional.embedding(self.dates, table[0])


def add_positions(rows: Tensor, position: Positions, mask: Tensor, period: float) -> Tensor:
    """Add sinusoids of the positions of a mask's dates to rows, in place.

    ``rows`` (row, channel) must be nobody else's, as a normalisation's output is.
    """
    table = position.table(rows.shape[-1], period)
    if len(rows) == mask.numel():
        return rows.view(*mask.shape, -1).add_(table).flatten(0, 1)
    if len(table) == 1:
        return rows.add_(table[0].index_select(0, mask.nonzero()[:, 1]))
    return rows.add_(packed(table, mask))


def sinusoid(position: Tensor, channels: int, period: float) -> Tensor:
    """Sines and cosines of positions (...,) at wavelengths up to a period: (..., channel).

    Vaswani et al. 2017, arXiv:1706.03762, with another longest wavelength.
    """
    index = torch.arange(channels, device=position.device)
    # Angles of hundreds of radians: single precision would leave four digits of their sines.
    rate = period ** (-2 * (index // 2).double() / channels)
    angle = position.unsqueeze(-1) * rate
    return torch.where(index % 2 == 0, torch.sin(angle), torch.cos(angle)).to(position.dtype)


def numbers_of(series: Series, config: NetworkConfig) -> Tensor | None:
    """Positions (batch, time) of a series' dates as numbers, as the time encoding has it."""
    days = series.days
    match config.time_encoding:
        case "none":
            return None
        case "season-day":
            return days
        case "calendar-day":
            return (days + config.start_day - 1) % 365 + 1
        case "first-date":
            return _since_first(days, series.valid.any(dim=2))
        case "order":
            return (torch.arange(days.shape[1], device=days.device) + 1.0).expand_as(days)
    # Weather has no dates of its own that growth could shift: it is what shifts them.
    thermal = days if series.thermal is None else series.thermal
    return (thermal + days) / _THERMAL_UNIT


def positions(position: Tensor | None, mask: Tensor) -> Positions | None:
    """Positions (batch, time) of a mask's dates; those of others may be no numbers at all."""
    if position is None:
        return None
    # A stride of 0 says that members share their dates: their sinusoids are computed once.
    shared = position.stride(0) == 0 and len(position) > 0
    return Positions(position[:1] if shared else position.masked_fill(~mask, 0.0))


def positions_of(
    position: Tensor | None, shared: Positions | None, part: Gathered
) -> Positions | None:
    """Positions of the dates of some members, from those (batch, time) of all."""
    if position is None:
        return None
    if shared is not None:
        return replace(shared, dates=part.dates)
    own = position[part.members]
    return Positions(own if part.dates is None else own.gather(1, part.dates))


def joined(positions: Sequence[Positions | None]) -> Positions | None:
    """Positions of several series' dates, one series after the other."""
    numbers = [one.numbers for one in positions if one is not None]
    if not numbers:
        return None
    n = max(len(one) for one in numbers)
    return Positions(torch.cat([one.expand(n, -1) for one in numbers], dim=1))


def _since_first(days: Tensor, dated: Tensor) -> Tensor:
    """Days since a member's first valid date: both (batch, time); 0 where it has none."""
    first = torch.where(dated, days, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(first.isfinite(), days - first, 0.0)
