"""What a network is made of, as data that can be stored and checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, cast, get_args

from cubecrop.checks import brief, check_number, check_share, check_whole
from cubecrop.errors import ModelFormatError
from cubecrop.schema import SERIES

__all__ = [
    "WEATHER", "Fusion", "NetworkConfig", "NetworkOptions", "SensorConfig", "Statistic",
    "TemporalName", "TimeEncoding",
]  # fmt: skip

Fusion = Literal["early", "mid", "late", "decision"]
TemporalName = Literal["ltae", "tae", "tempcnn", "gru", "transformer"]
TimeEncoding = Literal["season-day", "calendar-day", "thermal-time", "none", "first-date", "order"]
Statistic = Literal["mean", "std", "max", "min"]

#: Name of the weather among a network's series.
WEATHER: Final = "weather"
#: Larger sizes than these are no crop network but a way to fill a stranger's memory.
_LARGEST: Final = 8192
#: Sizes of the set encoder as published: Garnot et al. 2020, arXiv:1911.07757.
_PUBLISHED_SETS: Final[dict[str, Any]] = {"pixel_mlp": (32, 64), "embedding": 128}
#: Sizes as published: Garnot & Landrieu 2020, arXiv:2007.00586 (ltae); Garnot et al. 2020 (tae);
#: for the others those of the competitors' comparison in the former.
_PUBLISHED: Final[dict[str, dict[str, Any]]] = {
    name: _PUBLISHED_SETS | sizes
    for name, sizes in {
        "ltae": {"attention_width": 256, "heads": 16, "key_width": 8, "temporal_mlp": (128,)},
        "tae": {"attention_width": 0, "heads": 4, "key_width": 32, "temporal_mlp": (128, 128)},
        "tempcnn": {"attention_width": 128, "heads": 1, "key_width": 1, "temporal_mlp": (128,)},
        "gru": {"attention_width": 128, "heads": 1, "key_width": 1, "temporal_mlp": (128,)},
        "transformer": {
            "attention_width": 128, "heads": 4, "key_width": 1, "temporal_mlp": (128,),
        },
    }.items()
}  # fmt: skip
#: Sizes where none are given. Attention takes narrow embeddings as they are. On the points of
#: `python -m benchmarks.network_sizes` they score as the published sizes do, at a fraction of the
#: work.
_SIZES: Final[dict[str, dict[str, Any]]] = _PUBLISHED | {
    "ltae": {
        "pixel_mlp": (32,), "embedding": 64, "attention_width": 0, "heads": 8, "key_width": 8,
        "temporal_mlp": (128,),
    },
}  # fmt: skip
#: Sizes and the least that each may be.
_LEAST: Final = {"embedding": 1, "attention_width": 0, "heads": 1, "key_width": 1}
#: Sizes that a temporal encoder does not have.
_NOT_TAKEN: Final = {
    "tempcnn": ("heads", "key_width"), "gru": ("heads", "key_width"),
    "transformer": ("key_width",),
}  # fmt: skip


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
class NetworkOptions:
    """What a user chooses about a network; the data it is trained on gives the rest.

    Parameters
    ----------
    fusion : {"late", "early", "mid", "decision"}
        How series are joined. Early: everything is brought to the optical dates and
        stacked. Mid: an encoder of sets a series, one temporal encoder over the merged
        dates. Late: both a series, embeddings joined. Decision: a whole network a series,
        probabilities averaged.
    temporal : {"ltae", "tae", "tempcnn", "gru", "transformer"}
        What summarises a series over its dates.
    statistics : tuple of {"mean", "std", "max", "min"}
        What summarises a set over its pixels.
    time_encoding : {"season-day", "calendar-day", "thermal-time", "none", "first-date", "order"}
        Position of a date: days since the season's start, day of the year, degree days (see
        `cubecrop.model.thermal`), nothing; days since a parcel's first valid date and the
        number of the date are those of the published code.
    thermal_step : float
        Resample series to equal steps of thermal time, so many degree days each, before the
        temporal encoder; 0 keeps the dates.
    weather : bool
        Take weather as a series of its own.
    terrain, geometry : bool
        Take terrain (mean over a parcel) and shape of a parcel as features of every set.
    auxiliary : bool
        A classifier a series beside the fused one, for the auxiliary loss; not with early.
    pixel_mlp, embedding
        Widths of the layers over pixels, and of a date's embedding. Where they are not given,
        ltae takes narrow ones and the others those of the publications; see `published`.
    set_mlp : tuple of int
        Widths of the layers between statistics and embedding.
    attention_width, heads, key_width, temporal_mlp
        Sizes of the temporal encoder, likewise. A width of 0 takes the embeddings as they are.
    decoder : tuple of int
        Widths of the layers before the classes.
    dropout, attention_dropout : float
        Shares dropped in training; the latter of the dates of ltae and tae.
    period : float
        Longest wavelength of the sinusoid over positions.

    References
    ----------
    Garnot et al. 2020, arXiv:1911.07757; Garnot & Landrieu 2020, arXiv:2007.00586; Garnot
    et al. 2022, arXiv:2112.07558 (fusion).
    """

    fusion: Fusion = "late"
    temporal: TemporalName = "ltae"
    statistics: tuple[Statistic, ...] = ("mean", "std")
    time_encoding: TimeEncoding = "season-day"
    thermal_step: float = 0.0
    weather: bool = False
    terrain: bool = False
    geometry: bool = False
    auxiliary: bool = False
    pixel_mlp: tuple[int, ...] | None = None
    set_mlp: tuple[int, ...] = ()
    embedding: int | None = None
    attention_width: int | None = None
    heads: int | None = None
    key_width: int | None = None
    temporal_mlp: tuple[int, ...] | None = None
    decoder: tuple[int, ...] = (64, 32)
    dropout: float = 0.2
    attention_dropout: float = 0.1
    period: float = 1000.0

    def __post_init__(self) -> None:
        for name, known in (
            ("fusion", Fusion), ("temporal", TemporalName), ("time_encoding", TimeEncoding),
        ):  # fmt: skip
            if getattr(self, name) not in get_args(known):
                raise ModelFormatError(
                    f"{name} is {getattr(self, name)!r}, expected one of {list(get_args(known))}."
                )
        self._check_kinds()
        if (
            not self.statistics
            or len(set(self.statistics)) != len(self.statistics)
            or not set(self.statistics) <= set(get_args(Statistic))
        ):
            raise ModelFormatError(
                f"statistics are {self.statistics}, expected some of {list(get_args(Statistic))}, "
                "each once."
            )
        if self.auxiliary and self.fusion == "early":
            raise ModelFormatError(
                "early fusion has no embedding of a single sensor for an auxiliary classifier. "
                "Use mid or late fusion, or `auxiliary=False`."
            )
        for name in _NOT_TAKEN.get(self.temporal, ()):
            if getattr(self, name) not in {None, _SIZES[self.temporal][name]}:
                raise ModelFormatError(
                    f"{name} is {getattr(self, name)}, but temporal {self.temporal!r} takes none."
                )
        if self.pixel_mlp == ():
            raise ModelFormatError("pixel_mlp is empty, expected one width or more.")
        for name in ("dropout", "attention_dropout"):
            check_share(name, getattr(self, name), error=ModelFormatError)
        check_number("period", self.period, above=0, what="above 0", error=ModelFormatError)
        check_number("thermal_step", self.thermal_step, what="degree days", error=ModelFormatError)
        if self.thermal_step and self.thermal_step < 1:
            raise ModelFormatError(
                f"thermal_step is {self.thermal_step}, expected 0, or 1 degree day or more."
            )

    @classmethod
    def published(cls, temporal: TemporalName = "ltae") -> NetworkOptions:
        """Options with the sizes of the publications; `dataclasses.replace` changes others."""
        if temporal not in _PUBLISHED:
            raise ModelFormatError(
                f"temporal is {brief(temporal)}, expected one of {list(_PUBLISHED)}."
            )
        return NetworkOptions(temporal=temporal, **_PUBLISHED[temporal])

    def _check_kinds(self) -> None:
        """Raise unless flags are flags and sizes whole numbers; a list becomes a tuple."""
        for name in ("weather", "terrain", "geometry", "auxiliary"):
            if type(value := getattr(self, name)) is not bool:
                raise ModelFormatError(f"{name} is {brief(value)}, expected True or False.")
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) is not None:
                check_whole(name, value, minimum=least, error=ModelFormatError)
        for name in ("pixel_mlp", "set_mlp", "temporal_mlp", "decoder", "statistics"):
            value = getattr(self, name)
            if name in {"pixel_mlp", "temporal_mlp"} and value is None:
                continue
            if not isinstance(value, tuple | list):
                raise ModelFormatError(f"{name} is {brief(value)}, expected a tuple.")
            object.__setattr__(self, name, tuple(value))
            for width in value if name != "statistics" else ():
                check_whole(f"a width of {name}", width, minimum=1, error=ModelFormatError)

    @property
    def takes_weather(self) -> bool:
        """Whether samples must have weather: as a series, or for thermal time."""
        return self.weather or self.needs_thermal_time

    @property
    def needs_thermal_time(self) -> bool:
        """Whether positions or sampling stand on the season's weather."""
        return self.time_encoding == "thermal-time" or self.thermal_step > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig(NetworkOptions):
    """Options and what the data gives: all that a network is made of.

    Parameters
    ----------
    sensors : tuple of SensorConfig
        The series, in the order in which their embeddings are joined.
    n_classes : int
        Classes of the nomenclature.
    may_be_missing : tuple of str
        Sensors that may lack every date.
    weather_variables, terrain_variables : tuple of str
        What is taken of weather and terrain; empty where they are not.
    n_geometry : int
        Features of a parcel's shape; 0 where they are not taken.
    thermal_source : str
        Variables that degree days were summed from; empty where they are not needed.
    start_day : int
        Day of the year on which the season starts.
    n_dates : int
        Dates that a normalisation over channels and dates is tied to, as in the published
        L-TAE; 0 normalises channels alone and takes any dates.
    """

    sensors: tuple[SensorConfig, ...]
    n_classes: int
    may_be_missing: tuple[str, ...] = ()
    weather_variables: tuple[str, ...] = ()
    terrain_variables: tuple[str, ...] = ()
    n_geometry: int = 0
    thermal_source: str = ""
    start_day: int = 244
    n_dates: int = 0

    def __post_init__(self) -> None:
        super(NetworkConfig, self).__post_init__()
        for name, value in _SIZES[self.temporal].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
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
        for option, given in (
            ("weather", self.weather_variables), ("terrain", self.terrain_variables),
            ("geometry", self.n_geometry), ("needs_thermal_time", self.thermal_source),
        ):  # fmt: skip
            if bool(getattr(self, option)) != bool(given):
                raise ModelFormatError(
                    f"{option} is {getattr(self, option)} but the data gives {given!r}."
                )
        self._check_sizes()

    def _check_sizes(self) -> None:
        summary = self.temporal_mlp or ()
        sizes = (
            self.n_classes, *self.pixel_widths, *self.set_mlp, self.date_width, self.heads,
            self.key_width, *summary, *self.decoder,
        )  # fmt: skip
        optional = (self.attention_width, self.n_dates, self.n_geometry)
        if not all(isinstance(size, int) and 0 < size <= _LARGEST for size in sizes) or not all(
            isinstance(size, int) and 0 <= size <= _LARGEST for size in optional
        ):
            raise ModelFormatError(
                f"network sizes are {sizes} and {optional}, expected at most {_LARGEST}."
            )
        if not summary and self.temporal not in {"ltae", "tae"}:
            raise ModelFormatError("temporal_mlp is empty, expected one width or more.")
        split = {"ltae": self.attention_width or self.date_width, "transformer": self.date_width}
        if (width := split.get(self.temporal, 0)) % cast("int", self.heads):
            raise ModelFormatError(
                f"{self.heads} heads do not share a width of {width} alike; choose heads that "
                "divide it."
            )

    @property
    def pixel_widths(self) -> tuple[int, ...]:
        """Widths of the layers over pixels."""
        return cast("tuple[int, ...]", self.pixel_mlp)

    @property
    def date_width(self) -> int:
        """Width of a date's embedding."""
        return cast("int", self.embedding)

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the series: the sensors, and weather where it is taken."""
        names = tuple(sensor.name for sensor in self.sensors)
        return (*names, WEATHER) if self.weather else names

    @property
    def summary_width(self) -> int:
        """Width of a series' summary over its dates."""
        if self.temporal_mlp:
            return self.temporal_mlp[-1]
        width = self.attention_width or self.date_width
        return width * cast("int", self.heads) if self.temporal == "tae" else width

    @property
    def n_extras(self) -> int:
        """Features of a parcel that every set of pixels gets: geometry, then terrain."""
        return self.n_geometry + len(self.terrain_variables)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> NetworkConfig:
        """Read what `to_dict` wrote; anything else raises ModelFormatError."""
        try:
            values = dict(raw)
            if unknown := set(values) - {field.name for field in fields(cls)}:
                raise ModelFormatError(
                    f"network configuration has {sorted(unknown)}, which are not known. A newer "
                    "cubecrop may know them."
                )
            sensors = tuple(
                SensorConfig(name=str(s["name"]), bands=tuple(map(str, s["bands"])))
                for s in values.pop("sensors")
            )
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(sensors=sensors, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFormatError(f"this is not a network configuration: {error!r}.") from error
