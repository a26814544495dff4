"""`adapt` and `fine_tune`: win back what a new region or year costs a model."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.checks import brief
from cubecrop.errors import LabelError, SchemaError
from cubecrop.evaluation.guard import check_change, source_blocks
from cubecrop.evaluation.population import Population
from cubecrop.evaluation.self_training import TEACHERS, Work
from cubecrop.model import AdaptationRecord, season_of
from cubecrop.progress import progress_bar
from cubecrop.sample import CELL, fingerprints_at
from cubecrop.texts import place_name
from cubecrop.training import check_fit_options, settings_of
from cubecrop.training.sets import Source, as_lists, tree_of
from cubecrop.training.trained import bboxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.evaluation.guard import Trial, Tried
    from cubecrop.evaluation.self_training import Labelled
    from cubecrop.model import CropModel
    from cubecrop.training import TrainConfig
    from cubecrop.training.sets import Labels, Samples

__all__ = ["FEWEST_LABELS", "adapt", "fine_tune"]


#: With fewer parcels of the target, its share of the training is too small to change much.
_FEWEST: Final = 30
#: Samples have a point within a parcel, whose centroid may lie in a neighbouring cell.
_AROUND: Final = tuple(product((-2 * CELL, -CELL, 0.0, CELL, 2 * CELL), repeat=2))
#: Labelled parcels of the target that `fine_tune` needs.
FEWEST_LABELS: Final = 5


def adapt(
    model: CropModel,
    samples: Samples,
    *,
    source: tuple[Samples, Labels] | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> CropModel:
    """Fit a model to a place and year without labels of it; reads the pixels.

    The method is self-training: three networks predict the parcels of the target, and one network
    learns their mean probabilities together with the labelled parcels of the source.

    Parameters
    ----------
    model : CropModel
        Is not changed.
    samples : xarray.DataTree, StoredSets or sequence of them
        Pixel sets of the target, the place and year to be mapped: 30 parcels or more, drawn as
        they occur there. Labels in them are not read.
    source : tuple, optional
        Samples and labels that the model was trained on, as for `cubecrop.fit`. With them the
        method is first tried on the source: up to three parts of it take the place of the target
        in turn. If it does harm there, the model comes back with its own network. Harm is a mean
        difference of macro-F1 that is negative by more than its standard error. Without a source
        the network goes on from the model's weights by the surer half of its own predictions of
        each class, which helps little or not at all, and nothing is checked.
    seed : int, default 0
        The same model, samples, source and seed give the same model on the CPU.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if there is one.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    CropModel
        Its ``adaptation`` says what was done and what the check showed. An adapted model has no
        scores and no calibration, as those of the model before do not hold for it.

    Raises
    ------
    ModelMismatchError
        Samples do not fit the model; see `CropModel.check`.
    SchemaError
        Fewer than 30 parcels can be predicted.
    LabelError
        The source has a class that the model lacks.

    Warns
    -----
    UserWarning
        There is no check, since there is no source or no part of it can be held out.
    """
    check_fit_options(config=None, seed=seed, device=device, checkpoint=None, progress=progress)
    work = Work(model, settings_of(model), seed, device)
    targets = _targets(model, samples)
    predicted = work.predicted(model, [target for target, _ in targets])
    n = int(np.isfinite(predicted).all(axis=1).sum())
    if n < _FEWEST:
        raise SchemaError(
            f"the model can predict {n} of the parcels in samples, expected {_FEWEST} or more. "
            "Sample more parcels of the place; they need no labels."
        )
    record = AdaptationRecord(method="self-training", applied=True, parcels=n)
    if source is None:
        _warn_unchecked("no source was given")
        with progress_bar("Adapting", total=1, unit="networks", progress=progress) as bar:
            return _changed(work.showing(bar).from_weights(targets), record)
    known = _population(model, source)
    blocks = source_blocks(known)
    total = len(blocks) * (TEACHERS + 1) + TEACHERS
    with progress_bar("Adapting", total=total, unit="networks", progress=progress) as bar:
        work = work.showing(bar)

        def trial(train: NDArray[np.int64], part: NDArray[np.int64]) -> Tried:
            labelled = _labelled(known, train)
            unlabelled, _, order = known.take(part)
            first = work.fitted(labelled)
            changed = work.self_trained(first, labelled, _hidden(unlabelled))
            return order, work.predicted(first, unlabelled), work.predicted(changed, unlabelled)

        record = _checked(record, known, blocks, trial, seed)
        if not record.applied:
            return replace(model, adaptation=record)
        everyone = _labelled(known, np.arange(len(known)))
        return _changed(work.self_trained(model, everyone, targets), record)


def fine_tune(
    model: CropModel,
    samples: Samples,
    labels: Labels,
    *,
    source: tuple[Samples, Labels] | None = None,
    config: TrainConfig | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> CropModel:
    """Fit a model to a place and year with few labels of it; reads the pixels.

    Parameters
    ----------
    model : CropModel
        Is not changed.
    samples : xarray.DataTree, StoredSets or sequence of them
        Pixel sets of the target, the place and year to be mapped.
    labels : sequence, or a sequence of sequences
        One label per parcel, in the order of ``samples``: classes of the model, 5 parcels and
        two classes or more. Parcels with a null label help as in `adapt`.
    source : tuple, optional
        Samples and labels that the model was trained on, as for `cubecrop.fit`. With them a new
        network learns the labels of both, each labelled parcel of the target four times, and the
        mean predictions of three networks for the target's other parcels; and the method is first
        tried on the source as in `adapt`, with as many labels. Without them the network goes on
        from the model's weights at a third of the learning rate, by the labels and by its own
        predictions for the other parcels. Give it many of these: few labels alone make it worse.
    config : TrainConfig, optional
        Settings; by default those of the model's training. The network is always the model's.
    seed, device, progress
        As for `adapt`.

    Returns
    -------
    CropModel
        Its ``adaptation`` says what was done and what the check showed. If the check shows harm,
        the network is the model's own.

    Raises
    ------
    LabelError
        A label is not a class of the model, or there are fewer than 5 labels or two classes.
    ModelMismatchError
        Samples do not fit the model; see `CropModel.check`.

    Warns
    -----
    UserWarning
        There is no check, since there is no source or no part of it can be held out.
    """
    check_fit_options(config=config, seed=seed, device=device, checkpoint=None, progress=progress)
    work = Work(model, settings_of(model, config), seed, device)
    parts = _with_labels(model, samples, labels)
    n = sum(text is not None for _, part in parts for text in part)
    record = AdaptationRecord(
        method="fine-tuning", applied=True, labelled=n,
        parcels=sum(len(part) for _, part in parts),
    )  # fmt: skip
    if source is None:
        _warn_unchecked("no source was given")
        with progress_bar("Fine-tuning", total=1, unit="networks", progress=progress) as bar:
            tuned = work.showing(bar).from_weights(parts)
        return _with_training_data(_changed(tuned, record), parts)
    known = _population(model, source)
    blocks = source_blocks(known)
    total = len(blocks) * (TEACHERS + 1) + TEACHERS
    with progress_bar("Fine-tuning", total=total, unit="networks", progress=progress) as bar:
        work = work.showing(bar)
        rng = np.random.default_rng(seed)

        def trial(train: NDArray[np.int64], part: NDArray[np.int64]) -> Tried:
            few = np.sort(rng.permutation(part)[: min(n, len(part) // 2)])
            rest = np.setdiff1d(part, few)
            rest = rest[~np.isin(known.group[rest], known.group[few])]
            labelled, (unlabelled, _, order) = _labelled(known, train), known.take(rest)
            first = work.fitted(labelled)
            both = [*_labelled(known, few), *_hidden(unlabelled)]
            changed = work.self_trained(first, labelled, both)
            return order, work.predicted(first, unlabelled), work.predicted(changed, unlabelled)

        record = _checked(record, known, blocks, trial, seed)
        if not record.applied:
            return replace(model, adaptation=record)
        everyone = _labelled(known, np.arange(len(known)))
        tuned = work.self_trained(model, everyone, parts)
        return _with_training_data(_changed(tuned, record), parts)


def _hidden(sources: Iterable[Source]) -> list[Labelled]:
    """Samples without labels."""
    return [(source, [None] * tree_of(source).sizes["parcel"]) for source in sources]


def _targets(model: CropModel, samples: Samples) -> list[Labelled]:
    """The samples without labels, if they fit the model."""
    if isinstance(samples, Source):
        targets, _ = as_lists(samples, _hidden([samples])[0][1])
    else:
        several = samples if isinstance(samples, Iterable) else []
        given = [one for one in several if isinstance(one, Source)]
        targets, _ = as_lists(samples, [part for _, part in _hidden(given)])
    for target in targets:
        model.check(tree_of(target))
    return _hidden(targets)


def _with_labels(model: CropModel, samples: Samples, labels: Labels) -> list[Labelled]:
    """Samples with their labels, if both fit the model."""
    targets, texts = as_lists(samples, labels)
    for target in targets:
        model.check(tree_of(target))
    names = model.nomenclature.names
    if unknown := sorted({text for part in texts for text in part if text} - set(names)):
        raise LabelError(
            f"labels have the classes {unknown}, which the model lacks: it has {names}. Rename "
            "them, pass None for their parcels, or train a model on both with `cubecrop.fit`."
        )
    if (n := sum(text is not None for part in texts for text in part)) < FEWEST_LABELS:
        raise LabelError(
            f"labels hold {n} labelled parcels, expected {FEWEST_LABELS} or more. Label more "
            "parcels, or use `adapt`, which needs none."
        )
    # A single one would be learned as the look of the whole place.
    if len(used := {text for part in texts for text in part if text is not None}) < 2:
        raise LabelError(
            f"labels hold only the class {used.pop()}, expected two or more. Label parcels as they "
            "occur in the place."
        )
    return list(zip(targets, texts, strict=True))


def _population(model: CropModel, source: tuple[Samples, Labels]) -> Population:
    if not isinstance(source, tuple) or len(source) != 2:
        raise LabelError(
            f"source is {brief(source)}, expected a pair, as in `source=(samples, labels)`."
        )
    try:
        known = Population.of(*source, nomenclature=model.nomenclature)
    except LabelError as error:
        raise LabelError(f"source: {error} Pass what the model was trained on.") from None
    for part in known.sources:
        model.check(tree_of(part))
    return known


def _labelled(known: Population, members: NDArray[np.int64]) -> list[Labelled]:
    samples, labels, _ = known.take(members)
    return [(one, list(part)) for one, part in zip(samples, labels, strict=True)]


def _checked(
    record: AdaptationRecord,
    known: Population,
    blocks: Sequence[tuple[str, NDArray[np.int64]]],
    trial: Trial,
    seed: int,
) -> AdaptationRecord:
    """The record with the result of the check."""
    if not blocks:
        _warn_unchecked("no part of the source can be held out", level=4)
        return record
    check = check_change(known, blocks, trial, seed=seed)
    return replace(
        record, applied=not check.harms, blocks=check.blocks, tested=check.tested,
        before=check.before, after=check.after, error=check.error,
    )  # fmt: skip


def _warn_unchecked(why: str, *, level: int = 3) -> None:
    warnings.warn(
        f"{why}, so nothing checks whether the change does harm. Pass the samples and labels "
        "that the model was trained on, `source=(samples, labels)` (`--source`, `--source-label`), "
        "with lon and lat.",
        stacklevel=level,
    )


def _changed(model: CropModel, record: AdaptationRecord) -> CropModel:
    """The changed model: its scores, calibration and limits were those of another network."""
    return replace(model, scores={}, calibration=None, limits=None, adaptation=record)


def _with_training_data(model: CropModel, parts: Sequence[Labelled]) -> CropModel:
    """Add labelled parcels of a target to the record of the training."""
    trees = [tree_of(source) for source, _ in parts]
    training = model.training
    counts = Counter(text for _, part in parts for text in part if text is not None)
    names = model.nomenclature.names
    used = {
        parcel
        for tree, (_, part) in zip(trees, parts, strict=True)
        for parcel, text in zip(np.asarray(tree["parcel"]).tolist(), part, strict=True)
        if text is not None
    }
    archives = [place_name(tree.attrs.get("archive", "")) for tree in trees]
    years = {season_of(tree).year for tree in trees}
    training = replace(
        training,
        archives=tuple(dict.fromkeys([*training.archives, *archives])),
        years=tuple(sorted({*training.years, *years})),
        bboxes=(*training.bboxes, *bboxes(trees, used)),
        parcels={name: training.parcels.get(name, 0) + counts[name] for name in names},
    )
    return _with_parcels_seen(replace(model, training=training), parts)


def _with_parcels_seen(model: CropModel, parts: Sequence[Labelled]) -> CropModel:
    """Add labelled parcels of a target to those that the model has seen in training."""
    # A model without a record of its first parcels would call these unseen.
    if not model.parcels_seen:
        return model
    prints = [model.parcels_seen.get("train", np.empty(0, np.uint64))]
    for source, texts in parts:
        tree = tree_of(source)
        labelled = np.array([text is not None for text in texts])
        ids = np.asarray(tree["parcel"], dtype=object)[labelled]
        lon, lat = (
            np.asarray(tree[name], dtype=float)[labelled]
            if name in tree.coords
            else np.full(len(ids), np.nan)
            for name in ("lon", "lat")
        )
        prints.append(fingerprints_at(ids.tolist(), lon, lat, _AROUND).ravel())
    seen = {**model.parcels_seen, "train": np.unique(np.concatenate(prints))}
    return replace(model, parcels_seen=seen)
