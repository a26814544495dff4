"""The card of a model that a recipe made: its data, its scores, and where not to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.class_lists import CODE_LISTS
from cubecrop.display import markdown_safe, markdown_table
from cubecrop.metrics import SCORE_NAMES
from cubecrop.model import BASELINE, calibration_text
from cubecrop.model.description import SCORE_TITLES, score_notes, score_text
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cubecrop.model import CropModel
    from cubecrop.pipeline.recipe_file import Recipe, RecipeSource

__all__ = ["recipe_card"]


def recipe_card(
    recipe: Recipe,
    model: CropModel,
    parcels: Mapping[str, Mapping[str, int]],
    *,
    seen_before: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Parameters
    ----------
    recipe : Recipe
        What the model was made of.
    model : CropModel
        The model with its scores.
    parcels : mapping
        Number of parcels by class, for each source by name.
    seen_before : sequence of str
        Regions where the model that the training started from has learned.
    left_out : sequence of str
        Which parcels of which source are left out for their codes, in words.
    """
    names = model.nomenclature.names
    counts = [
        (source.name, _part(recipe, source),
         *(str(parcels[source.name].get(name, 0)) for name in names))
        for source in recipe.sources
    ]  # fmt: skip
    scores = [
        (part, f"{values['n']:.0f}", *(score_text(values, name) for name in SCORE_NAMES))
        for part, values in model.scores.items()
    ]
    lines = [
        f"# {markdown_safe(recipe.name)}",
        "",
        f"Licence: {markdown_safe(recipe.licence)}. Digest: `{model.digest}`.",
        f"Probabilities: {calibration_text(model.calibration)}.",
        "",
        "## Data",
        "",
        *markdown_table(("source", "part", *names), counts),
        "",
        *(f"- {markdown_safe(one)}" for one in (*_origins(recipe), *left_out)),
        "",
        "## Scores, with 95 % intervals",
        "",
        *markdown_table(("parcels", "n", *(SCORE_TITLES[name] for name in SCORE_NAMES)), scores),
        "",
        *(f"{markdown_safe(note)}\n" for note in score_notes(model)),
        "",
        "## Where not to use it",
        "",
        *(f"- {sentence}" for sentence in _limits(recipe, seen_before)),
    ]
    return "\n".join(lines).strip() + "\n"


def _part(recipe: Recipe, source: RecipeSource) -> str:
    if not recipe.holds_out_sources:
        return f"train, {recipe.held_out.share:g} of them held out"
    return "held out" if recipe.is_held_out(source) else "train"


def _origins(recipe: Recipe) -> list[str]:
    """Where parcels and lists of codes are from."""
    lines = [
        f"{source.name}: parcels of {place_name(source.parcels)}, images of "
        f"{place_name(source.archive) if source.archive else 'the default archive'}"
        for source in recipe.sources
    ]
    for name in dict.fromkeys(source.codes for source in recipe.sources if source.codes):
        about = CODE_LISTS[name]
        lines.append(f"Codes: {about.title}; {about.source}, {about.licence}")
    return lines


def _limits(recipe: Recipe, seen_before: Sequence[str]) -> list[str]:
    regions = sorted({source.region for source in recipe.sources})
    years = sorted({source.year for source in recipe.sources})
    lines = [
        f"It knows {markdown_safe(', '.join(regions))} in {', '.join(map(str, years))}. Elsewhere "
        "it does worse; the report says how much.",
        "It gives a crop that is not in its list the most similar class, and land that is no "
        "cropland too: use a mask.",
    ]
    if recipe.init is not None and not seen_before:
        lines.append(
            "It started from the encoders of another model, which has learned nothing of these "
            "regions. The networks of the report start from them too."
        )
    if seen_before:
        lines.append(
            "It started from the encoders of another model, which has learned in "
            f"{markdown_safe(', '.join(seen_before))} before: scores of parcels that are held out "
            "there are too good. The networks of the report start from random weights, so its "
            "scores are not, and the model may carry further than they do."
        )
    if not recipe.holds_out_sources:
        lines.append(
            "Its held-out parcels were drawn among the others, so their scores hold for the same "
            f"regions and years alone ({BASELINE} too)."
        )
    return lines
