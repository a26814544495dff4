"""Configuration of a network, as data that can be stored and checked."""

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
TemporalName = Literal["ltae", "tae", "tempcnn", "gru", "transformer", "presto"]
TimeEncoding = Literal["season-day", "calendar-day", "thermal-time", "none", "first-date", "order"]
Statistic = Literal["mean", "std", "max", "min"]

#: Name of the weather among a network's series.
WEATHER: Final = "weather"
#: Larger sizes are refused: a model file from elsewhere could otherwise fill the memory.
_LARGEST: Final = 8192
#: Sizes of the set encoder as published: Garnot et al. 2020, arXiv:1911.07757.
_PUBLISHED_SETS: Final[dict[str, Any]] = {"pixel_mlp": (32, 64), "embedding": 128}
#: Sizes as published: Garnot & Landrieu 2020, arXiv:2007.00586 (ltae); Garnot et al. 2020 (tae).
#: The sizes of the others are those of the comparison in Garnot & Landrieu 2020.
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
#: Options that the weights of Presto fix: Tseng et al. 2023, arXiv:2304.14065. All series share
#: one encoder; bands are embedded, so ``pixel_mlp`` is that embedding; ``temporal_mlp`` is that of
#: a transformer's block.
_PRESTO: Final[dict[str, Any]] = {
    "fusion": "mid", "statistics": ("mean",), "time_encoding": "calendar-day", "thermal_step": 0.0,
    "weather": False, "terrain": False, "geometry": False, "auxiliary": False,
    "pixel_mlp": (128,), "set_mlp": (), "embedding": 128, "attention_width": 0, "heads": 8,
    "key_width": 16, "temporal_mlp": (512, 128), "attention_dropout": 0.0, "period": 1000.0,
}  # fmt: skip
#: Default sizes. L-TAE takes narrow embeddings without widening them. On the points of
#: `python -m benchmarks.network_sizes` these sizes score like the published ones, at a fraction of
#: the work.
_SIZES: Final[dict[str, dict[str, Any]]] = _PUBLISHED | {
    "ltae": {
        "pixel_mlp": (32,), "embedding": 64, "attention_width": 0, "heads": 8, "key_width": 8,
        "temporal_mlp": (128,),
    },
    "presto": _PRESTO,
}  # fmt: skip
#: Sizes and the minimum of each.
_MINIMUM: Final = {"embedding": 1, "attention_width": 0, "heads": 1, "key_width": 1}
#: Sizes that a temporal encoder does not have.
_NOT_TAKEN: Final = {
    "tempcnn": ("heads", "key_width"), "gru": ("heads", "key_width"),
    "transformer": ("key_width",),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorConfig:
    """A sensor that a network takes: the name of its child in a tree, and its bands in order."""

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
    """The choices of a user about a network; the training data determines the rest.

    Parameters
    ----------
    fusion : {"late", "early", "mid", "decision"}
        How the sensors' series are joined. Early: all series are interpolated to the optical
        dates and stacked. Mid: each series has its own set encoder, and one temporal encoder
        takes the merged dates. Late: each series has its own set and temporal encoder, and the
        embeddings are concatenated. Decision: each series has a whole network, and the
        probabilities are averaged.
    temporal : {"ltae", "tae", "tempcnn", "gru", "transformer", "presto"}
        The temporal encoder, which summarises a series over its dates. ``presto`` needs the
        weights of `cubecrop.model.read_presto`, and fixes all options but ``decoder`` and
        ``dropout``; see `published`.
    statistics : tuple of {"mean", "std", "max", "min"}
        The statistics that summarise a set over its pixels.
    time_encoding : {"season-day", "calendar-day", "thermal-time", "none", "first-date", "order"}
        Position of a date: days since the season's start, day of the year, degree days (see
        `cubecrop.model.thermal`), no position, days since the parcel's first valid date, or the
        number of the date. The published code uses the last two.
    thermal_step : float
        Degree days of a step: series are resampled to equal steps of thermal time before the
        temporal encoder. 0 keeps the dates.
    weather : bool
        Take weather as a series of its own.
    terrain, geometry : bool
        Add terrain (mean over a parcel) and shape of a parcel to the features of every set.
    auxiliary : bool
        Add one classifier per series, for the auxiliary loss. Not with early fusion.
    pixel_mlp, embedding
        Widths of the layers over pixels, and of a date's embedding. By default ltae has narrow
        layers, and the other encoders have the published widths; see `published`.
    set_mlp : tuple of int
        Widths of the layers between statistics and embedding.
    attention_width, heads, key_width, temporal_mlp
        Sizes of the temporal encoder, with the same defaults. An ``attention_width`` of 0 takes
        the embeddings without widening them.
    decoder : tuple of int
        Widths of the layers before the classes.
    dropout, attention_dropout : float
        Shares dropped in training. ``attention_dropout`` drops attention weights of ltae and tae.
        With presto, ``dropout`` is the share of a parcel's groups of bands that are masked.
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
                    f"{name} is {getattr(self, name)}, but temporal {self.temporal!r} takes no "
                    f"{name}."
                )
        if self.temporal == "presto":
            fixed = {k: v for k, v in _PRESTO.items() if getattr(self, k) not in {None, v}}
            if fixed:
                given = {name: getattr(self, name) for name in fixed}
                raise ModelFormatError(
                    f"options are {given}, but the weights of presto need {fixed}. Start from "
                    "`NetworkOptions.published('presto')`."
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
        """Options with the published sizes; change other options with `dataclasses.replace`."""
        sizes = _PUBLISHED | {"presto": _PRESTO | {"decoder": ()}}
        if temporal not in sizes:
            raise ModelFormatError(f"temporal is {brief(temporal)}, expected one of {list(sizes)}.")
        return NetworkOptions(temporal=temporal, **sizes[temporal])

    def _check_kinds(self) -> None:
        """Raise unless flags are bool and sizes are whole numbers; turn lists into tuples."""
        for name in ("weather", "terrain", "geometry", "auxiliary"):
            if type(value := getattr(self, name)) is not bool:
                raise ModelFormatError(f"{name} is {brief(value)}, expected True or False.")
        for name, minimum in _MINIMUM.items():
            if (value := getattr(self, name)) is not None:
                check_whole(name, value, minimum=minimum, error=ModelFormatError)
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
        """Whether the time encoding or the resampling needs degree days."""
        return self.time_encoding == "thermal-time" or self.thermal_step > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig(NetworkOptions):
    """Options together with what the training data determines: a network's full configuration.

    Parameters
    ----------
    sensors : tuple of SensorConfig
        The series, in the order in which their embeddings are joined.
    n_classes : int
        Classes of the nomenclature.
    may_be_missing : tuple of str
        Sensors that may lack every date.
    weather_variables, terrain_variables : tuple of str
        Variables of weather and terrain; empty for a network without them.
    n_geometry : int
        Number of features of a parcel's shape; 0 for a network without them.
    thermal_source : str
        Variables from which degree days are summed; empty for a network without thermal time.
    start_day : int
        Day of the year on which the season starts.
    n_dates : int
        Number of dates for which a normalisation over channels and dates was trained, as in
        the published L-TAE. 0 normalises channels only, and takes any number of dates.
    normalises_widened : bool
        Whether widened embeddings are normalised. Some published weights of L-TAE do not.
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
    normalises_widened: bool = True

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
                f"may_be_missing names {list(self.may_be_missing)}, the network's only sensor. "
                "Leave it out."
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
                f"{self.heads} heads do not divide a width of {width}; choose a number of heads "
                "that divides it."
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
        """Names of the series: the sensors, and weather if the network takes it."""
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
    def embedding_width(self) -> int:
        """Width of a parcel's embedding, from which the last layers classify it."""
        apart = self.fusion in {"late", "decision"}
        return self.summary_width * (len(self.series) if apart else 1)

    @property
    def n_extras(self) -> int:
        """Number of a parcel's features in every pixel set: geometry, then terrain."""
        return self.n_geometry + len(self.terrain_variables)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        values = asdict(self)
        if self.normalises_widened:  # files of other models lack this setting
            del values["normalises_widened"]
        return values

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> NetworkConfig:
        """Read what `to_dict` wrote; anything else raises ModelFormatError."""
        try:
            values = dict(raw)
            if unknown := set(values) - {field.name for field in fields(cls)}:
                raise ModelFormatError(
                    f"network configuration has the unknown settings {sorted(unknown)}. Read the "
                    "model with a newer cubecrop."
                )
            sensors = tuple(
                SensorConfig(name=str(s["name"]), bands=tuple(map(str, s["bands"])))
                for s in values.pop("sensors")
            )
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(sensors=sensors, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFormatError(f"this is not a network configuration: {error!r}.") from error
