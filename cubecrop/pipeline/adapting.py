"""`adapt_model`: adapt a model to parcels of an archive, or to a table of samples."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.aoi import parse_aoi
from cubecrop.checks import brief
from cubecrop.cube import MEMORY
from cubecrop.errors import ArgumentError, CubecropError, LabelError, NoScenesError, ReadError
from cubecrop.evaluation import adapt, fine_tune
from cubecrop.evaluation.adaptation import FEWEST_LABELS
from cubecrop.pipeline.inputs import (
    as_model,
    as_season,
    opened_for,
    read_parcels_of_a_year,
    request_for,
    season_of_model,
    where_they_are,
    within_archive,
)
from cubecrop.pipeline.known import fingerprints, parts_known
from cubecrop.pipeline.labelled import STORED_PIXELS, sets_folder
from cubecrop.pipeline.table import read_samples
from cubecrop.pipeline.tiled_samples import sample_tiles
from cubecrop.progress import check_scheduler
from cubecrop.sample import StoredSets, labels_of, plain_parcels
from cubecrop.texts import label_text
from cubecrop.training import check_fit_options, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    import geopandas as gpd
    import xarray as xr

    from cubecrop.archive import Archive
    from cubecrop.cube import CubeRequest
    from cubecrop.model import CropModel
    from cubecrop.pipeline.declared import Parcels
    from cubecrop.progress import Scheduler

    #: A table of samples, or parcels with their year and archive.
    _Given: TypeAlias = Parcels | tuple[Parcels, int, str | Path | Archive | None]

__all__ = ["adapt_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Samples in memory, and a class of the model or None for each parcel."""

    name: str
    texts: list[str | None]
    tree: xr.DataTree


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcels:
    """Plain shapes within an archive, the request of their cubes, and a class or None for each."""

    name: str
    texts: list[str | None]
    shapes: gpd.GeoDataFrame
    request: CubeRequest


_Place = _Table | _Parcels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampling:
    """What all places have in common."""

    model: CropModel
    folder: Path
    progress: bool
    scheduler: Scheduler | None

    def samples(
        self, places: Sequence[_Place]
    ) -> tuple[list[xr.DataTree | StoredSets], list[list[str | None]]]:
        """Samples that fit the model, and the labels of each."""
        samples: list[xr.DataTree | StoredSets] = []
        texts: list[list[str | None]] = []
        for place in places:
            with _named(place.name):
                for sets, members in self._of(place):
                    samples.append(sets)
                    texts.append([place.texts[i] for i in members])
        return samples, texts

    def _of(self, place: _Place) -> Iterator[tuple[xr.DataTree | StoredSets, Sequence[int]]]:
        if isinstance(place, _Table):
            yield place.tree, range(len(place.texts))
            return
        # A sensor that may be missing may also be missing in the whole archive.
        config = replace(settings_of(self.model), may_be_missing=())
        for sets, members in sample_tiles(
            place.shapes, place.request, self.folder, config=config,
            n_pixels=max(STORED_PIXELS, self.model.n_pixels), progress=self.progress,
            scheduler=self.scheduler,
        ):  # fmt: skip
            self.model.check(sets.tree)
            yield sets, members.tolist()


def adapt_model(
    model: CropModel | str | Path,
    samples: Parcels,
    *,
    year: int | None = None,
    archive: str | Path | Archive | None = None,
    label: str | None = None,
    source: _Given | Sequence[_Given] | None = None,
    source_label: str | None = None,
    weather: str | Path | Archive | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> CropModel:
    """Fit a model to a place and year, without labels of it or with few; reads the pixels.

    Parameters
    ----------
    model : CropModel or path
        Is not changed.
    samples : path or geopandas.GeoDataFrame
        The place and year to be mapped: a table of samples as for `cubecrop.train_table`; or,
        with ``year``, parcels as for `cubecrop.classify_parcels`. Season, composite, cloud mask
        and resolution are the model's.
    year : int, optional
        Harvest year of the parcels.
    archive : str, Path or Archive, optional
        Archive of their images, as for `cubecrop.classify`.
    label : str, optional
        Column with the crop, which may be null for most parcels: `cubecrop.fine_tune` learns
        from it. Without it no label is read, and `cubecrop.adapt` is used.
    source : optional
        What the model was trained on: a table of samples, (parcels, year, archive), or a list of
        these; an archive of None is chosen as without ``archive``. With a source the change is
        checked. Parcels that the model is known to have held out are left out.
    source_label : str, optional
        Column of the source with the crop.
    weather : str, Path or Archive, optional
        As for `cubecrop.classify`.
    seed, device
        As for `cubecrop.adapt`.
    progress, scheduler
        As for `cubecrop.train`.

    Returns
    -------
    CropModel
        As from `cubecrop.adapt` or `cubecrop.fine_tune`.

    Raises
    ------
    ArgumentError
        One of two arguments that belong together is missing.
    LabelError
        A column is missing, has classes that the model lacks, or too few labels.
    ModelMismatchError
        The samples do not fit the model.
    ReadError, SchemaError, ParcelError, NoScenesError, OutputError
        As for `cubecrop.train_table` and `cubecrop.train`, or too few parcels can be predicted.

    Warns
    -----
    UserWarning
        Nothing is checked.
    """
    crop_model = as_model(model)
    check_fit_options(config=None, seed=seed, device=device, checkpoint=None, progress=progress)
    check_scheduler(scheduler)
    if archive is not None and year is None:
        raise ArgumentError(
            "archive (`--archive`) is given without year (`--year`). Add it, or leave both out for "
            "a table of samples."
        )
    _check_pair("source", source, "source_label", source_label, "or leave both out")
    given = samples if year is None else (samples, year, archive)
    target = _place(crop_model, given, label, "label", weather)
    if label is not None:
        _check_enough(target, label)
    known = [
        _without_held_out(
            crop_model, _place(crop_model, one, source_label, "source_label", weather)
        )
        for one in _listed(source)
    ]
    with sets_folder(None) as folder:
        sampling = _Sampling(
            model=crop_model, folder=folder, progress=progress, scheduler=scheduler
        )
        sets, texts = sampling.samples([target])
        options: dict[str, Any] = {"seed": seed, "device": device, "progress": progress}
        options["source"] = sampling.samples(known) if known else None
        if label is None:
            return adapt(crop_model, sets, **options)
        return _with_parcels(fine_tune(crop_model, sets, texts, **options), target)


def _check_pair(name: str, value: object, other: str, its: object, cure: str) -> None:
    """Raise if one of two arguments that belong together is missing."""
    if (value is None) != (its is None):
        given, lacking = (other, name) if value is None else (name, other)
        raise ArgumentError(
            f"{given} (`{_flag(given)}`) is given without {lacking} (`{_flag(lacking)}`). Add it, "
            f"{cure}."
        )


def _listed(source: _Given | Sequence[_Given] | None) -> list[Any]:
    if source is None:
        return []
    if isinstance(source, list) and not source:
        raise ArgumentError("source is an empty list; give what the model was trained on.")
    return source if isinstance(source, list) else [source]


def _place(
    model: CropModel,
    given: object,
    label: str | None,
    option: str,
    weather: str | Path | Archive | None,
) -> _Place:
    """Read what is given, but no pixel of an archive."""
    parcels = given[0] if isinstance(given, tuple) and len(given) == 3 else None
    what = given if parcels is None else parcels
    kind = "samples" if option == "label" else "source"
    name = f"{kind} {Path(what).name}" if isinstance(what, str | Path) else kind
    place: _Place
    with _named(name):
        if parcels is not None:
            place = _in_archive(model, name, given, label, weather)
        elif isinstance(what, str | Path):
            tree = read_samples(what, label)
            model.check(tree)
            n = tree.sizes["parcel"]
            labels = [None] * n if label is None else tree["label"].to_numpy().tolist()
            place = _Table(name=name, texts=[label_text(text) for text in labels], tree=tree)
        else:
            raise ReadError(
                f"{kind} is {brief(what)}, expected the path of a table of samples, or parcels "
                "with their year and archive. For pixel sets in memory, use `cubecrop.adapt`."
            )
        return replace(place, texts=_classes_of(model, place.texts, label, option))


def _in_archive(
    model: CropModel,
    name: str,
    given: Any,  # noqa: ANN401
    label: str | None,
    weather: str | Path | Archive | None,
) -> _Parcels:
    """Parcels within an archive; raises if there are none."""
    what, year, archive = given
    table = read_parcels_of_a_year(what)
    texts = [None] * len(table) if label is None else labels_of(table, label)
    request = request_for(
        model, as_season(year, None), archive=archive, resolution=None, crs=None, chunks=None,
        memory=MEMORY, clouds=None, weather=weather,
    )  # fmt: skip
    parcels = plain_parcels(table)
    request = opened_for(request, parcels, model)
    opened = request.source
    inside = np.flatnonzero(within_archive(parcels, opened))
    if len(inside) == 0:
        raise NoScenesError(
            f"no parcel lies within archive {opened.name}: {where_they_are(parcels, opened)}. "
            "Check the parcels' CRS and coordinates, or choose another archive."
        )
    parcels = parcels.iloc[inside]
    season = season_of_model(year, None, model, parse_aoi(parcels))
    return _Parcels(
        name=name, texts=[texts[i] for i in inside], shapes=parcels,
        request=replace(request, season=season),
    )  # fmt: skip


def _classes_of(
    model: CropModel, texts: Sequence[str | None], label: str | None, option: str
) -> list[str | None]:
    """Class names of labels, which are codes or names of the model's classes."""
    classes = model.nomenclature
    known = {*classes.codes, *classes.names}
    if unknown := sorted({text for text in texts if text is not None} - known):
        raise LabelError(
            f"column {label!r} (`{_flag(option)}`) has the classes {_some(unknown)}, which the "
            f"model lacks: it has {_some(classes.names)}. Rename them, empty the label of their "
            "parcels to use these without it, or train a model on both with `cubecrop train`."
        )
    return classes.names_of(texts)


def _check_enough(place: _Place, label: str) -> None:
    """Raise if there are fewer labels than `fine_tune` needs, before pixels are read."""
    texts = [text for text in place.texts if text is not None]
    classes = sorted(set(texts))
    if len(texts) < FEWEST_LABELS or len(classes) < 2:
        raise LabelError(
            f"column {label!r} (`--label`) of {place.name} labels {len(texts)} parcels with the "
            f"classes {classes}, expected {FEWEST_LABELS} parcels or more and two classes or more. "
            "Label more parcels, or leave out the option: without it no label is needed."
        )


def _without_held_out(model: CropModel, place: _Place) -> _Place:
    """The labelled parcels of a source, without those that the model held out and was scored on."""
    if isinstance(place, _Table):
        return place
    parts = np.array(parts_known(model, place.shapes), dtype=object)
    labelled = np.array([text is not None for text in place.texts])
    used = np.flatnonzero(labelled & (parts != "held out"))
    if len(used) == 0:
        raise LabelError(
            f"{place.name}: no parcel has a label and took part in the training. Give the parcels "
            "that the model was trained on with `--source`, and the column with their crops with "
            "`--source-label`."
        )
    return replace(place, shapes=place.shapes.iloc[used], texts=[place.texts[i] for i in used])


def _with_parcels(model: CropModel, target: _Place) -> CropModel:
    """Add the labelled parcels of the target to those that the model has seen in training."""
    applied = model.adaptation is not None and model.adaptation.applied
    # A model without a record of its first parcels would call these unseen.
    if isinstance(target, _Table) or not applied or not model.parcels_seen:
        return model
    part = np.array([None if text is None else "train" for text in target.texts], dtype=object)
    prints = fingerprints(target.shapes, part)["train"]
    before = model.parcels_seen.get("train", np.empty(0, np.uint64))
    return replace(model, parcels_seen={**model.parcels_seen, "train": np.union1d(before, prints)})


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _some(names: Sequence[str]) -> str:
    """The first eight names as text."""
    return f"{list(names[:8])}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let errors name the place."""
    try:
        yield
    except CubecropError as error:
        raise type(error)(f"{name}: {error}") from error
