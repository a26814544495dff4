"""Positions of dates in time, and the sinusoids that encode them."""

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

#: Degree days do not increase in winter. Adding the days keeps winter's dates apart, and changes
#: little against the two thousand degree days of a summer. The sum is divided by this unit.
_THERMAL_UNIT = 10.0


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of dates: ``numbers`` (batch, time), or (1, time) where members share them.

    If members have only some of the shared dates, ``dates`` (batch, some dates) holds their
    indices. ``known`` caches tables of sinusoids for all that share the numbers.
    """

    numbers: Tensor
    dates: Tensor | None = None
    known: dict[tuple[int, float], Tensor] = field(default_factory=dict)

    def table(self, channels: int, period: float) -> Tensor:
        """Sinusoids (batch or 1, time, channel) of the dates that members have."""
        return self.at_dates(self.sinusoids(channels, period))

    def sinusoids(self, channels: int, period: float) -> Tensor:
        """Sinusoids (batch or 1, time, channel) of all dates."""
        table = self.known.get((channels, period))
        if table is None:
            table = self.known[channels, period] = sinusoid(self.numbers, channels, period)
        return table

    def at_dates(self, table: Tensor) -> Tensor:
        """Rows of a table (batch or 1, time, feature) at the dates that members have."""
        return table if self.dates is None else functional.embedding(self.dates, table[0])


def add_positions(rows: Tensor, position: Positions, mask: Tensor, period: float) -> Tensor:
    """Add sinusoids of the positions of a mask's dates to rows, in place.

    ``rows`` (row, channel) are changed, so no other tensor may share their memory.
    """
    table = position.table(rows.shape[-1], period)
    if len(rows) == mask.numel():
        return rows.view(*mask.shape, -1).add_(table).flatten(0, 1)
    if len(table) == 1:
        return rows.add_(table[0].index_select(0, mask.nonzero()[:, 1]))
    return rows.add_(packed(table, mask))


def sinusoid(position: Tensor, channels: int, period: float) -> Tensor:
    """Sines and cosines of positions (...,) at wavelengths up to a period: (..., channel).

    After Vaswani et al. 2017, arXiv:1706.03762, who use a fixed longest wavelength.
    """
    index = torch.arange(channels, device=position.device)
    # Angles reach hundreds of radians: single precision would keep only four digits of the sines.
    rate = period ** (-2 * (index // 2).double() / channels)
    angle = position.unsqueeze(-1) * rate
    return torch.where(index % 2 == 0, torch.sin(angle), torch.cos(angle)).to(position.dtype)


def numbers_of(series: Series, config: NetworkConfig) -> Tensor | None:
    """Positions (batch, time) of a series' dates as numbers, by the configured time encoding."""
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
    # Weather itself has no thermal time: its steps are equal in days.
    thermal = days if series.thermal is None else series.thermal
    return (thermal + days) / _THERMAL_UNIT


def positions(position: Tensor | None, mask: Tensor) -> Positions | None:
    """Positions (batch, time) of a mask's dates; masked positions may be NaN."""
    if position is None:
        return None
    # A stride of 0 marks dates that all members share: their sinusoids are computed once.
    shared = position.stride(0) == 0 and len(position) > 0
    return Positions(position[:1] if shared else position.masked_fill(~mask, 0.0))


def positions_of(
    position: Tensor | None, shared: Positions | None, part: Gathered
) -> Positions | None:
    """Select the positions of some members' dates from those (batch, time) of all members."""
    if position is None:
        return None
    if shared is not None:
        return replace(shared, dates=part.dates)
    own = position[part.members]
    return Positions(own if part.dates is None else own.gather(1, part.dates))


def joined(positions: Sequence[Positions | None]) -> Positions | None:
    """Concatenate the positions of several series' dates."""
    parts = [part.numbers for part in positions if part is not None]
    if not parts:
        return None
    n = max(len(part) for part in parts)
    return Positions(torch.cat([part.expand(n, -1) for part in parts], dim=1))


def _since_first(days: Tensor, dated: Tensor) -> Tensor:
    """Days (batch, time) since a member's first valid date; 0 for a member without any."""
    first = torch.where(dated, days, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(first.isfinite(), days - first, 0.0)
