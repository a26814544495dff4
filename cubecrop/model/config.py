"""What a network is made of, as data that can be stored and checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cubecrop.errors import ModelFormatError
from cubecrop.schema import SERIES

__all__ = ["NetworkConfig", "SensorConfig"]

#: Larger sizes than these are no crop network but a way to fill a stranger's memory.
_LARGEST = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorConfig:
    """One satellite series that a network takes: its child's name and its bands, in order."""

    name: str
    bands: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.name not in SERIES:
            raise ModelFormatError(f"sensor is {self.name!r}, expected one of {sorted(SERIES)}.")
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ModelFormatError(
                f"sensor {self.name!r} has bands {self.bands}, expected one or more, each once."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes of a pixel-set encoder with lightweight temporal attention, fused late.

    The defaults are the published sizes.

    Parameters
    ----------
    sensors : tuple of SensorConfig
        The series, in the order in which their embeddings are joined.
    n_classes : int
        Classes of the nomenclature.
    may_be_missing : tuple of str
        Sensors that may lack every date: a learned token stands in for their embedding.
    pixel_mlp : tuple of int
        Widths of the shared layers over pixels.
    embedding : int
        Width of a date's embedding, and of a series'.
    attention_width, heads, key_width : int
        Of the temporal attention; the width is divided among the heads.
    decoder : tuple of int
        Widths of the layers before the classes.
    dropout, attention_dropout : float
        Shares dropped in training.
    period : float
        Longest wavelength of the sinusoid over days.

    References
    ----------
    Garnot et al. 2020, arXiv:1911.07757; Garnot & Landrieu 2020, arXiv:2007.00586.
    """

    sensors: tuple[SensorConfig, ...]
    n_classes: int
    may_be_missing: tuple[str, ...] = ()
    pixel_mlp: tuple[int, ...] = (32, 64)
    embedding: int = 128
    attention_width: int = 256
    heads: int = 16
    key_width: int = 8
    decoder: tuple[int, ...] = (64, 32)
    dropout: float = 0.2
    attention_dropout: float = 0.1
    period: float = 1000.0
    architecture: str = field(default="pse-ltae-late", init=False)

    def __post_init__(self) -> None:
        names = [sensor.name for sensor in self.sensors]
        if not names or len(set(names)) != len(names):
            raise ModelFormatError(f"network has sensors {names}, expected one or more, each once.")
        if unknown := set(self.may_be_missing) - set(names):
            raise ModelFormatError(
                f"may_be_missing names {sorted(unknown)}, expected some of the sensors {names}."
            )
        if self.may_be_missing and len(names) == 1:
            raise ModelFormatError(
                f"may_be_missing names {list(self.may_be_missing)}, the only sensor there is."
            )
        sizes = (
            self.n_classes, *self.pixel_mlp, self.embedding, self.attention_width, self.heads,
            self.key_width, *self.decoder,
        )  # fmt: skip
        if not all(isinstance(size, int) and 0 < size <= _LARGEST for size in sizes):
            raise ModelFormatError(f"network sizes are {sizes}, expected 1 to {_LARGEST}.")
        if not self.pixel_mlp:
            raise ModelFormatError("pixel_mlp is empty, expected one width or more.")
        if self.attention_width % self.heads or (self.attention_width // self.heads) % 2:
            raise ModelFormatError(
                f"attention_width {self.attention_width} over {self.heads} heads is not an even "
                "whole number a head, which the sinusoid needs."
            )
        if not (0 <= self.dropout < 1 and 0 <= self.attention_dropout < 1 and self.period > 0):
            raise ModelFormatError("dropout must be 0 to below 1, and period above 0.")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> NetworkConfig:
        """Read what `to_dict` wrote; anything else raises ModelFormatError."""
        try:
            values = dict(raw)
            if (name := values.pop("architecture")) != "pse-ltae-late":
                raise ModelFormatError(
                    f"architecture is {name!r}, expected 'pse-ltae-late'. A newer cubecrop may "
                    "know it."
                )
            sensors = tuple(
                SensorConfig(name=str(s["name"]), bands=tuple(map(str, s["bands"])))
                for s in values.pop("sensors")
            )
            for key in ("may_be_missing", "pixel_mlp", "decoder"):
                values[key] = tuple(values[key])
            return cls(sensors=sensors, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFormatError(f"this is not a network configuration: {error!r}.") from error
