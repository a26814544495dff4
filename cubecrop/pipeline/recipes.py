"""`train_recipe`: from a recipe to a model, its scores on what was held out, and a report."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.checks import check_flag, check_path
from cubecrop.cube import CubeRequest
from cubecrop.errors import ArgumentError
from cubecrop.evaluation.study import study
from cubecrop.evaluation.study_options import StudyOptions
from cubecrop.files import new_file
from cubecrop.model import NetworkOptions, usable_device
from cubecrop.pipeline.known import seen
from cubecrop.pipeline.labelled import labelled_samples, modalities, needed_by
from cubecrop.pipeline.recipe_card import recipe_card
from cubecrop.pipeline.recipe_file import Recipe
from cubecrop.pipeline.recipe_init import init_of, regions_of_init
from cubecrop.pipeline.recipe_sources import (
    CROP_COLUMN,
    SOURCE_COLUMN,
    check_nomenclature,
    check_tables,
    classes_of,
    label_columns,
    table_of,
)
from cubecrop.pipeline.recipe_state import (
    CARD,
    MODEL,
    REPORT,
    RecipeFolder,
    parcels_digest,
    report_of,
    settings_of,
)
from cubecrop.pipeline.score import fit_and_score
from cubecrop.training import TrainConfig, config_of_init

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distributed import Client
    from numpy.typing import NDArray

    from cubecrop.model import CropModel
    from cubecrop.pipeline.declared import Declared
    from cubecrop.pipeline.labelled import Labelled

__all__ = ["train_recipe"]

_CURE: Final = "Free some space there or name another folder."


def train_recipe(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    device: str | None = None,
    cache: str | Path | None = None,
    client: Client | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> CropModel:
    """Train a model on declared parcels of many regions and years; reads their pixels.

    Parcels are read from files or addresses, sampled tile by tile, and mapped to common classes.
    Parcels with a code that the list lacks are left out, with a warning and a line in the card.
    Regions and years that the recipe holds out are only scored.

    Parameters
    ----------
    recipe : Recipe or path
        The recipe, or the TOML file that holds it.
    out : path
        Folder for the model, in ``model``, its card, ``card.md``, and the report, in ``report``.
        After an interruption the same call goes on: a training after its last epoch, a report
        after its last training.
    device, cache
        As for `cubecrop.train`.
    client : distributed.Client, optional
        Cluster that makes the report's trainings.
    overwrite : bool, default False
        Train again where a model is, of this or another recipe; also after an interruption it
        begins with the first epoch.
    progress : bool, default True
        Show progress bars on a terminal or in a notebook.

    Returns
    -------
    CropModel
        With scores on "train" and "held out" parcels, on each region and year that was held out,
        and of a random forest on the same parcels.

    Raises
    ------
    ArgumentError
        The recipe is wrong; the message names the entry.
    AoiError, ParcelError, LabelError, ReadError
        The parcels of a source cannot be read, have no labels, or more than half of them have
        codes that the list lacks; the message names the source.
    NoScenesError, SchemaError
        As for `cubecrop.train`.
    OutputError
        The folder holds the model of another recipe, or this one's with its report; or it cannot
        be written.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    check_flag("overwrite", overwrite)
    folder = RecipeFolder.at(check_path("out", out), overwrite=overwrite)
    device = usable_device(device)
    init = init_of(recipe)
    identity = settings_of(recipe, init)
    folder.check(identity, report_of(recipe))
    config = config_of_init(
        init,
        TrainConfig(
            epochs=recipe.epochs,
            may_be_missing=recipe.may_be_missing,
            network=NetworkOptions(weather=recipe.weather is not None),
        ),
    )
    composite = recipe.composite or (init.composite if init is not None else "") or None
    check_nomenclature(recipe)
    tables, left_out = [], []
    for source in recipe.sources:
        table, without_code = table_of(source, recipe)
        tables.append(table)
        if without_code:
            left_out.append(f"{source.name}: {without_code}")
            warnings.warn(f"source {left_out[-1]}", stacklevel=2)
    check_tables(tables, recipe)
    identity |= {"parcels": parcels_digest(tables)}
    folder.check(identity, report_of(recipe))
    seen_before = regions_of_init(init, recipe, tables)
    if seen_before and config.network.temporal == "presto":
        raise ArgumentError(
            f"init is a model of Presto that has learned in {', '.join(seen_before)}, where the "
            "report needs networks that have not. These would start from random weights, from "
            "which Presto is not trained. Leave these regions out, or `init`."
        )
    requests = [
        CubeRequest(
            season=source.year, archive=source.archive,
            modalities=modalities(recipe.sensors, config),
            composite=composite,  # type: ignore[arg-type]
            weather=recipe.weather, needed=needed_by(config),
        )
        for source in recipe.sources
    ]  # fmt: skip
    sources = [
        (table, source.year, source.archive)
        for table, source in zip(tables, recipe.sources, strict=True)
    ]
    share = 0.0 if recipe.holds_out_sources else recipe.held_out.share
    with labelled_samples(
        sources, requests, CROP_COLUMN, nomenclature=classes_of(recipe), held_out=share,
        seed=recipe.seed, config=config, cache=cache, progress=progress, scheduler=None,
        by=SOURCE_COLUMN, called=label_columns(recipe.sources),
    ) as found:  # fmt: skip
        found = replace(found, declared=[_parted(one, recipe) for one in found.declared])
        model = folder.model()
        if model is None:
            model = _trained(
                found, recipe, config, init, device=device, progress=progress,
                checkpoint=folder.checkpoint(identity, device),
            )  # fmt: skip
            model.save(folder.path / MODEL, overwrite=True)
            folder.trained(identity, model)
        with new_file(folder.path / CARD, cure=_CURE) as staging:
            text = recipe_card(
                recipe, model, _counts(found.declared), seen_before=seen_before, left_out=left_out
            )
            staging.write_text(text, "utf-8")
        regions = {source.name: source.region for source in recipe.sources}
        options = StudyOptions(
            protocols=recipe.protocols, seeds=recipe.report.seeds, config=config,
            # From encoders that know the land that is left out, it would score too well.
            init=None if seen_before else init,
            title=f"How far {recipe.name} carries",
        )  # fmt: skip
        study(
            found.samples,
            [one.texts for one in found.declared],
            options,
            nomenclature=found.classes,
            regions=[[regions[str(name)] for name in _regions(one)] for one in found.declared],
            out=folder.path / REPORT, client=client, progress=progress,
        )  # fmt: skip
    folder.finished(identity, model, report_of(recipe))
    return model


def _trained(
    found: Labelled,
    recipe: Recipe,
    config: TrainConfig,
    init: CropModel | None,
    *,
    device: str,
    progress: bool,
    checkpoint: Path,
) -> CropModel:
    """The model with its scores."""
    declared = found.declared
    model = fit_and_score(
        found.samples,
        [one.texts for one in declared],
        [one.part for one in declared],
        nomenclature=found.classes, config=config, init=init, seed=recipe.seed,
        device=device, checkpoint=checkpoint, progress=progress,
        groups=[group for one in declared if (group := one.group) is not None] or None,
        places=[one.region for one in declared] if recipe.holds_out_sources else None,  # type: ignore[misc]
    )  # fmt: skip
    return replace(model, parcels_seen=seen(declared), name=recipe.name, licence=recipe.licence)


def _counts(declared: Sequence[Declared]) -> dict[str, dict[str, int]]:
    """Number of parcels by class, for each source by name."""
    found: dict[str, Counter[str]] = {}
    for one in declared:
        for name, text in zip(_regions(one), one.texts, strict=True):
            found.setdefault(str(name), Counter())[str(text)] += 1
    return {name: dict(own) for name, own in found.items()}


def _parted(declared: Declared, recipe: Recipe) -> Declared:
    """Parcels whose whole source is held out, where the recipe says so."""
    if not recipe.holds_out_sources:
        return declared
    held = {source.name for source in recipe.sources if recipe.is_held_out(source)}
    is_held = np.isin(_regions(declared).astype(str), sorted(held))
    return replace(declared, part=np.where(is_held, "held out", "train").astype(object))


def _regions(declared: Declared) -> NDArray[np.object_]:
    assert declared.region is not None  # noqa: S101 (for type checkers)
    return declared.region
