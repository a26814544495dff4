"""The card of a shipped model: its record as text in Markdown. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["AIMS", "card_text", "shortfalls_of"]

#: What the model should reach in a region that it had not seen; the last two are at home, and for
#: points of a class that the model has not seen.
AIMS: Final = {"sure_accuracy": 0.75, "calibration_error": 0.12, "home_calibration_error": 0.06,
               "false_sure": 0.10}  # fmt: skip


def card_text(record: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Parameters
    ----------
    record : mapping
        The content of ``card.json``; see `cubecrop.model.shipped.read_card`.
    """
    parts = [
        _head(record), _data(record), _scores(record), _confidence(record), _unknown(record),
        _inputs(record), _limits(record), _better(), _choice(record), _making(record),
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
                f"{name}: the group is right for {_share(sure, 3)} of the surest 80 % of the "
                f"points, not for {_share(AIMS['sure_accuracy'])}."
            )
        if error > AIMS["calibration_error"]:
            out.append(
                f"{name}: the calibration error is {_share(error)}, not below "
                f"{_share(AIMS['calibration_error'])}."
            )
    home = record["home"]["calibration_error"]
    if home > AIMS["home_calibration_error"]:
        out.append(
            f"At home: the calibration error is {_share(home)}, not below "
            f"{_share(AIMS['home_calibration_error'])}."
        )
    if (false := _mean(record["false_sure"], "false_sure")) > AIMS["false_sure"]:
        out.append(
            f"Crops that a model never saw: it is sure of another crop for {_share(false)} of "
            f"their points, not for {_share(AIMS['false_sure'])} or less."
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

{_table(("group", "classes"), rows)}
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

{_table(("region", *names, "points"), rows)}

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
                f"{_share(network['accuracy'])} {_ends(network['intervals']['accuracy'])}",
                f"{_share(network['macro_f1'])} {_ends(network['intervals']['macro_f1'])}",
                f"{_share(forest['accuracy'])} / {_share(forest['macro_f1'])}",
                f"{_signed(network['macro_f1'] - forest['macro_f1'])} "
                f"({_signed(low)} to {_signed(high)})",
            )
        )  # fmt: skip
    coarse = [
        (
            name, _share(one["coarse"]["accuracy"]),
            f"{_share(one['coarse']['sure_accuracy'])} {_ends(one['coarse']['sure_interval'])}",
            _share(one["coarse_forest"]["sure_accuracy"]), _share(one["calibration_error"]),
        )
        for name, one in record["regions"].items()
    ]  # fmt: skip
    short = shortfalls_of(record)
    aims = (
        "All regions reach the aims: a macro-F1 above the forest's, the group right for .75 of the "
        "surest 80 %, and a calibration error below .12."
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
        _table(
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

The group (winter, spring and summer crops, grass, permanent crops) is more certain than the crop:

{
        _table(
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

{aims}

At home, on random folds of the same points, the accuracy is {_share(home["accuracy"])} and the
macro-F1 {_share(home["macro_f1"])} (n = {home["n"]}).
"""


def _confidence(record: Mapping[str, Any]) -> str:
    home = record["home"]["calibration_error"]
    worst = max(one["calibration_error"] for one in record["regions"].values())
    joint = ", ".join(
        f"{name} {_share(one['joint_calibration_error'])}"
        for name, one in record["regions"].items()
    )
    return f"""
## Confidence

The temperature ({record["temperature"]:.2f}) was fitted to predictions of regions and of random
folds by models that had not seen them: the median over the regions, since one odd region must not
decide, and midway between this and the one at home. The expected calibration error is
{_share(home)} at home and at most {_share(worst)} in a region left out, by a temperature that was
fitted without this region. These errors may be too low, since the median was chosen with them in
view. With one temperature for the other regions together, they are: {joint}.
"""


def _unknown(record: Mapping[str, Any]) -> str:
    limits, levels = record["limits"], next(iter(record["regions"].values()))["levels"]
    parcel, left_out = limits["parcel"], record["false_sure"]
    known = [
        (name, *(_share(one["levels"][level]) for level in levels))
        for name, one in record["regions"].items()
    ]
    unseen = [
        (name, str(one["n"]), _share(one["false_sure"]), _share(one["unknown"]),
         _share(one["known_sure"]))
        for name, one in left_out.items()
    ]  # fmt: skip
    false, unknown, sure = (
        _share(_mean(left_out, key)) for key in ("false_sure", "unknown", "known_sure")
    )
    unseen.append(("mean", "", false, unknown, sure))
    return f"""
## What it does not know

The model gives a point the finest class of crop, season or all crops that has a probability of
{_share(parcel["probability"])}. A point that is further from the training points than
{_share(parcel["dissimilarity"])} thresholds is unknown, 253 in a map
([limits](training.md#limits-of-a-models-knowledge)). These two numbers come from the
{limits["n"]:,} points of all regions, each predicted by a model of the others. By the rule of
`fit_limits`, which was not tuned, {100 * limits["kept"]:.0f} % of these points keep a crop. The
points are single pixels; parcels of many pixels have the same limits, which were not fitted to such
parcels.
{_unreliable(limits)}
Share of the points of each region left out, by the level of their class:

{_table(("region left out", *levels), known)}

Of a class that a model never saw, false-sure is the share of the points that come out as another
crop all the same. For each class of the table, networks learned without it and without one region
in turn; no simulated point was of the class either. The limits come from the points of the other
classes, by the same rule:

{_table(("class left out", "points", "false-sure", "unknown", "known points sure"), unseen)}

So a crop that the model names may well be another one that it does not have. Models are less sure
in a region that they have not seen, and limits that keep 80 % there are low: plain networks of
Canada, with limits of Canada, have a false-sure share of .36 (`python -m benchmarks.unknown
../shared/data`). Where other crops grow, fit limits on parcels of your region, or mask these crops.
"""


def _unreliable(limits: Mapping[str, Any]) -> str:
    names = [area["name"] for area in limits.get("unreliable", ())]
    if not names:
        return ""
    return f"""
In {" and ".join(names)}, all is unknown: a map has no class there, and a table of parcels the level
"unknown", since models of other regions miss the aim for the group. The model has learned from the
points there too, but nothing shows that it is better there. Fine-tune it on parcels of the region,
which lifts this limit.
"""


def _inputs(record: Mapping[str, Any]) -> str:
    columns = list(next(iter(record["inputs"].values())))
    rows = [
        (name, *(_both(by[one]) if one in by else "" for one in columns))
        for name, by in record["inputs"].items()
    ]
    header, bands = ("season", *columns), ", ".join(record["recipe"]["bands"])
    return f"""
## What it takes

Monthly composites of any season between 1 September of the year before and 31 December of the
harvest year, if it includes April to July. It refuses a shorter season. The composites may be of
Sentinel-2, of Sentinel-1 (sigma nought or gamma nought), or of both. The bands of Sentinel-2 are
{bands}. Accuracy / macro-F1, the mean over the regions left out:

{_table(header, rows)}
"""


def _limits(record: Mapping[str, Any]) -> str:
    few = [name for name, n in record["parcels"].items() if n < 50]
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
        return [_share(found[key], 3) for key in ("macro_f1", "accuracy", "group")]

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
        + _table(("region left out", "recipe chosen on the others", *columns), nested)
    )
    return f"""
## How its recipe was chosen

Each recipe but the first adds to the one before it. A recipe is as good as the mean of three
scores in a region, by a model that learned without this region and another one, before calibration.
The table has their means over all pairs of regions:

{_table(("recipe", *columns), candidates)}

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
{_share(record["spread"])} in macro-F1; this is an estimate, not measured on other processors.

Digest of the model: `{record["digest"][:16]}`; of the recipe: `{record["recipe_digest"][:16]}`.
Licence of the weights: {record["licence"]}.
"""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _mean(rows: Mapping[str, Mapping[str, float]], key: str) -> float:
    return sum(one[key] for one in rows.values()) / len(rows)


def _both(scores: Mapping[str, float]) -> str:
    return f"{_share(scores['accuracy'])} / {_share(scores['macro_f1'])}"


def _share(value: float, digits: int = 2) -> str:
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{_share(abs(value))}"


def _ends(ends: Sequence[float]) -> str:
    low, high = ends
    return f"({_share(low)}-{_share(high)})"
