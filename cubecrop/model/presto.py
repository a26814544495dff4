"""Presto, a small transformer that was pre-trained on monthly series from all over the world.

A token stands for one group of bands of a pixel in one month. `PrestoEncoder` has the layers, and
the names of the weights, of the published code. `Presto` makes its tokens from satellite series:

- Values are means over the valid pixels of a parcel on all dates of a calendar month, so a parcel
  costs as much as a pixel. The published model takes single pixels.
- A month without a valid pixel, a sensor that is absent and a group that lacks a band give no
  token. The published code masks them, which removes their tokens too.
- Terrain, weather, land cover (Dynamic World) and the place are never given: they let a network
  recognise the place. Their weights are kept, so that a file fits as a whole.

Tseng et al. 2023, Lightweight, Pre-trained Transformers for Remote Sensing Timeseries,
arXiv:2304.14065.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from cubecrop.errors import SchemaError
from cubecrop.model.positions import sinusoid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cubecrop.model.config import NetworkConfig, SensorConfig
    from cubecrop.model.series import Series

__all__ = ["MONTHS", "BandStatistics", "Presto", "PrestoEncoder", "bands_of", "groups_of",
           "scaling_of"]  # fmt: skip

#: Months of the longest series that Presto has positions for.
MONTHS: Final = 24
_WIDTH: Final = 128
_HEADS: Final = 8
_BLOCKS: Final = 2
#: A place in time has this many channels for its month and the group of bands each; the other
#: half is for its position.
_QUARTER: Final = _WIDTH // 4
#: Channels of each group, in the order of the rows of ``channel_embed``, whose last row is that of
#: Dynamic World.
_CHANNELS: Final = {
    "S1": 2, "S2_RGB": 3, "S2_Red_Edge": 3, "S2_NIR_10m": 1, "S2_NIR_20m": 1, "S2_SWIR": 2,
    "ERA5": 2, "SRTM": 2, "NDVI": 1,
}  # fmt: skip
#: Classes of Dynamic World, and one for missing values.
_LAND_COVERS: Final = 10
#: Sensor and bands of the groups that our series have. NDVI is computed from its bands.
_BANDS: Final = {
    "S1": ("sentinel1", ("vv", "vh")),
    "S2_RGB": ("sentinel2", ("B02", "B03", "B04")),
    "S2_Red_Edge": ("sentinel2", ("B05", "B06", "B07")),
    "S2_NIR_10m": ("sentinel2", ("B08",)),
    "S2_NIR_20m": ("sentinel2", ("B8A",)),
    "S2_SWIR": ("sentinel2", ("B11", "B12")),
    "NDVI": ("sentinel2", ("B08", "B04")),
}
#: Offset and divisor of a sensor's values, reflectance or decibels.
_SCALING: Final = {"sentinel2": (0.0, 1.0), "sentinel1": (-25.0, 25.0)}
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class BandStatistics(nn.Module):
    """Mean and deviation of a series' bands in training, by which noise is scaled.

    Presto itself scales all data in the same way; see `scaling_of`.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_bands))
        self.register_buffer("deviation", torch.ones(n_bands))


class Presto(nn.Module):
    """Summarises the satellite series of a batch by Presto.

    In training, each group of bands of a member is masked by a chance of ``config.dropout``.
    """

    starts: Tensor
    months: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = PrestoEncoder()
        self.masked = config.dropout
        self.first_day = config.start_day - 1
        self.groups = groups_of(config.sensors)
        # First days of the months of three years, which hold any season of 24 months. The 29th of
        # February is left out: after it, a date counts as one day later.
        lengths = torch.tensor(_DAYS * 3)
        starts = lengths.cumsum(dim=0) - lengths
        self.register_buffer("starts", starts, persistent=False)
        first = int(torch.searchsorted(starts, self.first_day, right=True)) - 1
        self.first_month = first
        self.register_buffer(
            "months", (torch.arange(MONTHS) + first).unsqueeze(0) % 12, persistent=False
        )

    def forward(self, series: Mapping[str, Series]) -> Tensor:
        """Summary (batch, feature) of all series."""
        values, seen = {}, {}
        for sensor, one in series.items():
            mean, known = self._by_month(one)
            offset, divisor = _SCALING[sensor]
            for group, columns in self.groups[sensor].items():
                bands = mean[..., columns]  # (batch, month, band)
                values[group] = _ndvi(bands) if group == "NDVI" else (bands - offset) / divisor
                seen[group] = known
        embedding: Tensor = self.encoder(values, self._kept(seen), self.months)
        return embedding

    def _by_month(self, series: Series) -> tuple[Tensor, Tensor]:
        """Means (batch, month, band) of valid pixels, and which months (batch, month) have any."""
        series = series.spread()
        total = torch.where(series.valid.unsqueeze(-1), series.values, 0.0).sum(dim=2)
        count = series.valid.sum(dim=2).to(total.dtype)  # (batch, time)
        day = (series.days + self.first_day).floor().contiguous()
        month = torch.searchsorted(self.starts.to(day.dtype), day, right=True) - 1
        # Days that training shifts out of the season stay in its first or last month.
        month = (month - self.first_month).clamp(0, MONTHS - 1)
        n, _, bands = total.shape
        counts = count.new_zeros(n, MONTHS).scatter_add(1, month, count)
        index = month.unsqueeze(-1).expand(-1, -1, bands)
        sums = total.new_zeros(n, MONTHS, bands).scatter_add(1, index, total)
        return sums / counts.clamp_min(1).unsqueeze(-1), counts > 0

    def _kept(self, seen: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mask groups at random in training; a member whose groups all fell keeps them."""
        if not self.training or not self.masked:
            return seen
        kept = {
            group: mask & (torch.rand(len(mask), 1, device=mask.device) >= self.masked)
            for group, mask in seen.items()
        }
        some = torch.stack(list(kept.values())).any(dim=2).any(dim=0).unsqueeze(1)
        return {group: torch.where(some, kept[group], seen[group]) for group in seen}


class PrestoEncoder(nn.Module):
    """The encoder of Presto, with the names of the published weights.

    Members may differ in their masks, which the published code does not allow within a batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.eo_patch_embed = nn.ModuleDict(
            {group: nn.Linear(n, _WIDTH) for group, n in _CHANNELS.items()}
        )
        self.dw_embed = nn.Embedding(_LAND_COVERS, _WIDTH)
        self.latlon_embed = nn.Linear(3, _WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))
        self.norm = nn.LayerNorm(_WIDTH)
        position = sinusoid(torch.arange(float(MONTHS)), 2 * _QUARTER, 1000.0)
        self.pos_embed = nn.Parameter(position.unsqueeze(0), requires_grad=False)
        self.month_embed = nn.Embedding(12, _QUARTER)
        self.month_embed.weight = nn.Parameter(_month_table(), requires_grad=False)
        self.channel_embed = nn.Embedding(len(_CHANNELS) + 1, _QUARTER)

    def forward(
        self,
        values: Mapping[str, Tensor],
        seen: Mapping[str, Tensor],
        months: Tensor,
        location: Tensor | None = None,
    ) -> Tensor:
        """Embed series.

        Parameters
        ----------
        values : mapping
            Group of bands, but not SRTM, to its scaled values (batch, month, band); any finite
            number where not seen.
        seen : mapping
            Group to the months (batch, month) bool that have values.
        months : Tensor
            (batch or 1, month) integers from 0, January.
        location : Tensor, optional
            Latitude and longitude in degrees, (batch, 2). By default there is no token for them.

        Returns
        -------
        Tensor
            (batch, 128): the normalised mean over the tokens.
        """
        month = self.month_embed(months)  # (batch or 1, month, channel)
        position = self.pos_embed[:, : months.shape[1]].expand(len(month), -1, -1)
        rows = dict(zip(_CHANNELS, self.channel_embed.weight, strict=False))
        parts = []
        for group, bands in values.items():
            place = torch.cat([month, rows[group].expand_as(month), position], dim=2)
            parts.append(self.eo_patch_embed[group](bands) + place)
        tokens, mask = torch.cat(parts, dim=1), torch.cat([seen[group] for group in values], dim=1)
        some = mask.any(dim=0)  # tokens that no member has are not computed
        tokens, mask = tokens[:, some], mask[:, some]
        if location is not None:
            token = self.latlon_embed(_on_the_sphere(location)).unsqueeze(1)
            tokens = torch.cat([token, tokens], dim=1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        # Attention over no token would not be finite.
        attended = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, attended)
        weight = mask.unsqueeze(2).to(tokens.dtype)
        mean = (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        embedding: Tensor = self.norm(mean)
        return embedding


class _Block(nn.Module):
    """Attention and a perceptron, both after a normalisation and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.attn = _Attention()
        layers = {
            "fc1": nn.Linear(_WIDTH, 4 * _WIDTH), "act": nn.GELU(),
            "fc2": nn.Linear(4 * _WIDTH, _WIDTH),
        }  # fmt: skip
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Transform tokens (batch, token, channel); see `_Attention`."""
        tokens = tokens + self.attn(self.norm1(tokens), attended)
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class _Attention(nn.Module):
    """Self-attention to the tokens of a mask (batch, 1, 1, token)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.proj = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Transform tokens (batch, token, channel)."""
        split = self.qkv(tokens).unflatten(2, (3, _HEADS, -1))  # (batch, token, 3, head, channel)
        query, key, value = split.transpose(1, 3).unbind(dim=2)  # (batch, head, token, channel)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


def groups_of(sensors: Iterable[SensorConfig]) -> dict[str, dict[str, list[int]]]:
    """By sensor, the groups whose bands it has all, with the positions of these bands."""
    return {
        sensor.name: {
            group: [sensor.bands.index(band) for band in bands]
            for group, (name, bands) in _BANDS.items()
            if name == sensor.name and set(bands) <= set(sensor.bands)
        }
        for sensor in sensors
    }


def bands_of(sensors: Iterable[SensorConfig]) -> tuple[SensorConfig, ...]:
    """The sensors with the bands that Presto takes, those of complete groups.

    Raises
    ------
    SchemaError
        A sensor has all bands of no group.
    """
    out = []
    for sensor in sensors:
        used = {sensor.bands[i] for part in groups_of([sensor])[sensor.name].values() for i in part}
        if not used:
            groups = [list(bands) for name, bands in _BANDS.values() if name == sensor.name]
            raise SchemaError(
                f"{sensor.name!r} has the bands {list(sensor.bands)}, but Presto needs all bands "
                f"of one of the groups {groups}. Add them, or leave the sensor out."
            )
        bands = tuple(band for band in sensor.bands if band in used)
        out.append(replace(sensor, bands=bands))
    return tuple(out)


def scaling_of(sensor: str, n_bands: int) -> tuple[Tensor, Tensor]:
    """Offset and divisor (band,) with which Presto scales a sensor's bands."""
    offset, divisor = _SCALING[sensor]
    return torch.full((n_bands,), offset), torch.full((n_bands,), divisor)


def _ndvi(bands: Tensor) -> Tensor:
    """NDVI (..., 1) of near infrared and red (..., 2); 0 where their sum is not above 0."""
    near, red = bands[..., :1], bands[..., 1:]
    total = near + red
    return torch.where(total > 0, (near - red) / torch.where(total > 0, total, 1.0), 0.0)


def _month_table() -> Tensor:
    """Sine and cosine of each month's place in the year, each repeated: (month, channel)."""
    angle = torch.arange(12.0, dtype=torch.float64) * (math.tau / 12)
    half = _QUARTER // 2
    pair = [torch.sin(angle), torch.cos(angle)]
    return torch.cat([part.unsqueeze(1).expand(-1, half) for part in pair], dim=1).float()


def _on_the_sphere(location: Tensor) -> Tensor:
    """Cartesian coordinates (batch, 3) of latitudes and longitudes (batch, 2) in degrees."""
    latitude, longitude = torch.deg2rad(location).unbind(dim=1)
    across = torch.cos(latitude)
    return torch.stack(
        [across * torch.cos(longitude), across * torch.sin(longitude), torch.sin(latitude)], dim=1
    )
