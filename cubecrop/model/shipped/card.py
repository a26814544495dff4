"""The card of a shipped model: its record as text in Markdown. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cubecrop.model.shipped.card_format import both, ends, listed, mean, share, signed, table
from cubecrop.model.shipped.card_unknown import confidence, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AIMS", "card_text", "shortfalls_of"]

#: What the model should reach in a region that it had not seen; the last two are at home, and for
#: points of a class that the model has not seen.
AIMS: Final = {"sure_accuracy": 0.75, "calibration_error": 0.12, "home_calibration_error": 0.06,
               "false_sure": 0.10}  # fmt: skip
#: A class with fewer points than this is hardly learned.
_FEW: Final = 50


def card_text(record: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Parameters
    ----------
    record : mapping
        The content of ``card.json``; see `cubecrop.model.shipped.read_card`.
    """
    parts = [
        _head(record), _in_short(record), _data(record), _scores(record), confidence(record),
        unknown(record), _inputs(record), _limits(record), _better(), _choice(record),
        _making(record),
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts) + "\n"


def shortfalls_of(record: Mapping[str, Any]) -> list[str]:
    """Sentences about the aims that a region, or home, does not reach; empty if all are reached."""
    out = []
    for name, one in record["regions"].items():
        gain = one["network"]["macro_f1"] - one["forest"]["macro_f1"]
        sure, error = one["coarse"]["sure_accuracy"], one["calibration_error"]
        if gain <= 0:
            out.append(f"{name}: the macro-F1 is not above that of the random forest.")
        if sure < AIMS["sure_accuracy"]:
            out.append(
                f"{name}: the group is right for {share(sure, 3)} of the surest 80 % of the "
                f"points, not for {share(AIMS['sure_accuracy'])}."
            )
        if error > AIMS["calibration_error"]:
            out.append(
                f"{name}: the calibration error is {share(error)}, not below "
                f"{share(AIMS['calibration_error'])}."
            )
    home = record["home"]["calibration_error"]
    if home > AIMS["home_calibration_error"]:
        out.append(
            f"At home: the calibration error is {share(home)}, not below "
            f"{share(AIMS['home_calibration_error'])}."
        )
    if (false := mean(record["false_sure"], "false_sure")) > AIMS["false_sure"]:
        out.append(
            f"Crops that a model never saw: it is sure of another crop for {share(false)} of "
            f"their points, not for {share(AIMS['false_sure'])} or less."
        )
    return out


def _head(record: Mapping[str, Any]) -> str:
    groups: dict[str, list[str]] = {}
    for name, group in record["recipe"]["classes"].items():
        groups.setdefault(group, []).append(name)
    rows = [(group, ", ".join(names)) for group, names in groups.items()]
    return f"""
# The default model

`cubecrop.classify` and the commands use this model where no other is given
(`cubecrop.CropModel.default()`). It tells {len(record["recipe"]["classes"])} crops and groups of
crops apart, from monthly composites of Sentinel-2, Sentinel-1 or both. It is a start for a place
where nobody has declared crops at hand. A model of your own region is better.

{table(("group", "classes"), rows)}
"""


def _in_short(record: Mapping[str, Any]) -> str:
    regions = record["regions"].values()
    right = sorted(one["network"]["accuracy"] for one in regions)
    group = sorted(one["coarse"]["accuracy"] for one in regions)
    few = [name for name, n in record["parcels"].items() if n < _FEW]
    nowhere = [area["name"] for area in record["limits"].get("unreliable", ())]
    counts = _confusion(record)
    hard = [
        f"{name} ({share(counts[i][i] / sum(counts[i]))})"
        for i, (name, n) in enumerate(record["parcels"].items())
        if n >= _FEW and 2 * counts[i][i] < sum(counts[i])
    ]
    places = f" It gives no crop in {listed(nowhere)}." if nowhere else ""
    return f"""
## In short

- In a region that it had not seen, it was right for {share(right[0])} to {share(right[-1])} of the
  points, and for {share(group[0])} to {share(group[-1])} in the group (winter crop, spring crop and
  so on).{places}
- There it found less than half of the points of {listed(hard)}.
- It learned from few points of {listed(few)}, so its scores for these say little.
- A crop that it does not have comes out as one that it has, and it is sure of this, for
  {share(mean(record["false_sure"], "false_sure"))} of its points.
- `crop_type` in a map and `crop:name` in a table are the most probable crop, however doubtful. The
  layer `crop_at_level` and the column `crop:name_at_level` name a crop only where it is sure, and a
  group elsewhere. `confidence` says how sure it is.
- Use it in temperate Europe and eastern North America, on cropland, for a first look. It is no
  basis for decisions on single parcels, nor for area statistics.
"""


def _data(record: Mapping[str, Any]) -> str:
    names = list(record["recipe"]["classes"])
    rows = [
        (name, *(str(part["classes"].get(one, "")) for one in names), str(part["n"]))
        for name, part in record["regions"].items()
    ]
    rows.append(("all", *(str(record["parcels"].get(one, 0)) for one in names),
                 str(sum(record["parcels"].values()))))  # fmt: skip
    sources = "\n".join(
        f"- {one['regions']}, {one['year']}: {one['labels']}; {one['licence']}."
        for one in record["sources"]
    )
    thanks = "\n".join(f"- {one}" for one in record["attributions"])
    return f"""
## Trained on

Points of parcels, one pixel each:

{table(("region", *names, "points"), rows)}

Origin of the labels, and their licences:

{sources}

{thanks}

{record["simulated"]}
"""


def _scores(record: Mapping[str, Any]) -> str:
    rows = []
    for name, one in record["regions"].items():
        network, forest = one["network"], one["forest"]
        low, high = one["difference"]["interval"]
        rows.append(
            (
                name, str(one["n"]),
                f"{share(network['accuracy'])} {ends(network['intervals']['accuracy'])}",
                f"{share(network['macro_f1'])} {ends(network['intervals']['macro_f1'])}",
                f"{share(forest['accuracy'])} / {share(forest['macro_f1'])}",
                f"{signed(network['macro_f1'] - forest['macro_f1'])} "
                f"({signed(low)} to {signed(high)})",
            )
        )  # fmt: skip
    coarse = [
        (
            name, share(one["coarse"]["accuracy"]),
            f"{share(one['coarse']['sure_accuracy'])} {ends(one['coarse']['sure_interval'])}",
            share(one["coarse_forest"]["sure_accuracy"]), share(one["calibration_error"]),
        )
        for name, one in record["regions"].items()
    ]  # fmt: skip
    short = shortfalls_of(record)
    aims = (
        "All are reached."
        if not short
        else "**Not reached:**\n\n" + "\n".join(f"- {text}" for text in short)
    )
    better = [
        name for name, one in record["regions"].items()
        if one["coarse_forest"]["sure_accuracy"] > one["coarse"]["sure_accuracy"]
    ]  # fmt: skip
    forest = (
        f"Of the surest 80 %, the forest has more groups right than the model in "
        f"{' and '.join(better)}."
        if better
        else "In no region does the forest have more groups right of the surest 80 %."
    )
    home = record["home"]
    return f"""
## Scores in regions that it had not seen

Each region in turn was left out of training and of the calibration, and predicted by a model of the
others. The random forest was trained on the same points, monthly, with gaps interpolated: on the
real ones alone, and on these with the simulated ones, of which the better one in the region counts.
Scores with 95 % intervals of the choice of points; the macro-F1 is the mean over the classes that
occur in the region, some of which have few points.

{
        table(
            (
                "region left out",
                "points",
                "accuracy",
                "macro-F1",
                "forest: accuracy / macro-F1",
                "difference of macro-F1",
            ),
            rows,
        )
    }

All points of the regions left out together, by crop:

{table(("crop", "points", "found", "right where named", "most often taken for"), _by_crop(record))}

The group (winter, spring and summer crops, grass, permanent crops) is more certain than the crop.
The "surest 80 %" are the points of the region whose group has the highest probabilities:

{
        table(
            (
                "region left out",
                "group right",
                "of the surest 80 %",
                "forest, of the surest 80 %",
                "calibration error of the crop",
            ),
            coarse,
        )
    }

{forest}

The aims in each region are a macro-F1 above that of the forest, the group right for
{share(AIMS["sure_accuracy"])} of the surest 80 %, and a calibration error below
{share(AIMS["calibration_error"])}; at home, one below {share(AIMS["home_calibration_error"])}; and
to be sure of a crop for at most {share(AIMS["false_sure"])} of the points of a crop that it never
saw. {aims}

At home, on random folds of the same points, the accuracy is {share(home["accuracy"])} and the
macro-F1 {share(home["macro_f1"])} (n = {home["n"]}).
"""


def _inputs(record: Mapping[str, Any]) -> str:
    columns = list(next(iter(record["inputs"].values())))
    rows = [
        (name, *(both(by[one]) if one in by else "" for one in columns))
        for name, by in record["inputs"].items()
    ]
    header, bands = ("season", *columns), ", ".join(record["recipe"]["bands"])
    return f"""
## What it takes

Monthly composites of any season between 1 September of the year before and 31 December of the
harvest year, if it includes April to July. It refuses a shorter season. The composites may be of
Sentinel-2, of Sentinel-1 (sigma nought or gamma nought), or of both. The bands of Sentinel-2 are
{bands}. Accuracy / macro-F1, the mean over the regions left out:

{table(header, rows)}
"""


def _by_crop(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of points, recall, precision and the main confusion of each crop."""
    names, counts = list(record["recipe"]["classes"]), _confusion(record)
    rows: list[tuple[str, ...]] = []
    for i, name in enumerate(names):
        n, named = sum(counts[i]), sum(row[i] for row in counts)
        wrong = max((k for k in range(len(names)) if k != i), key=lambda k: counts[i][k])
        right = counts[i][i]
        rows.append(
            (name, str(n), share(right / n) if n else "", share(right / named) if named else "",
             names[wrong] if counts[i][wrong] else "")
        )  # fmt: skip
    return rows


def _confusion(record: Mapping[str, Any]) -> list[list[int]]:
    """Points (true crop, named crop) of all regions left out."""
    parts = [one["network"]["confusion"] for one in record["regions"].values()]
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*parts, strict=True)]


def _limits(record: Mapping[str, Any]) -> str:
    few = [name for name, n in record["parcels"].items() if n < _FEW]
    text = f" There are few points of {', '.join(few)}." if few else ""
    return f"""
## Where not to use it

- South of the equator and in the tropics: crops grow in other months. It refuses the former.
- For crops that it does not have, such as vegetables, pulses, rice or cotton: it is often sure of
  the most similar class that it has.
- For land that is no cropland: woods, towns and water often get a class too. Mask them.
- Far from temperate Europe and eastern North America.
- For area statistics without a reference sample of your own (`cubecrop area-estimates`).

Each region has one year, so its scores do not say how much another year costs.{text}
"""


def _better() -> str:
    return """
## How to make a better one

A hundred parcels of your region and year already help: give them to `cubecrop.fine_tune`
([adaptation](adaptation.md)), or train your own model with `cubecrop train`
([training](training.md)).
"""


def _choice(record: Mapping[str, Any]) -> str:
    choice = record["choice"]
    columns = ("macro-F1", "accuracy", "group right, of the surest 80 %")

    def cells(found: Mapping[str, float]) -> list[str]:
        return [share(found[key], 3) for key in ("macro_f1", "accuracy", "group")]

    candidates = [(name, *cells(found)) for name, found in choice["candidates"].items()]
    nested = [
        (name, found["recipe"], *cells(found)) for name, found in choice["nested"].items()
    ]  # fmt: skip
    same = all(found["recipe"] == choice["chosen"] for found in choice["nested"].values())
    result = (
        "It is the same recipe in every region, so the scores above are those of a choice that has "
        "not seen the region."
        if same
        else "It is not the same recipe in every region, so the scores above are of a choice that "
        "has seen the region. These are not:\n\n"
        + table(("region left out", "recipe chosen on the others", *columns), nested)
    )
    return f"""
## How its recipe was chosen

Each recipe but the first adds to the one before it. A recipe is as good as the mean of three
scores in a region, by a model that learned without this region and another one, before calibration.
The table has their means over all pairs of regions:

{table(("recipe", *columns), candidates)}

Chosen: {choice["chosen"]}. For each region, the recipe was also chosen on the scores of the others
alone, by models that had not seen the region. {result}

The table lists what one command compares. Other settings were tried before
([choices](default-model-choices.md)), on the same regions.
"""


def _making(record: Mapping[str, Any]) -> str:
    return f"""
## How it was made

`python -m benchmarks.default_model` reads the points, trains the model with seed
{record["recipe"]["seed"]}, scores it, and writes the model, its record and this page. With
`--check` it trains the model again and compares its scores with these. Another processor rounds
differently, which changes the weights a little. `--check` allows a difference of
{share(record["spread"])} in macro-F1; this is an estimate, not measured on other processors.

Digest of the model: `{record["digest"][:16]}`; of the recipe: `{record["recipe_digest"][:16]}`.
Licence of the weights: {record["licence"]}.
"""
