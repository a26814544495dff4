"""What a card says of the confidence of a model, and of what it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cubecrop.model.shipped.card_format import mean, share, table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["confidence", "unknown"]


def confidence(record: Mapping[str, Any]) -> str:
    """How the probabilities were calibrated, and how well they are."""
    home = record["home"]["calibration_error"]
    worst = max(one["calibration_error"] for one in record["regions"].values())
    joint = ", ".join(
        f"{name} {share(one['joint_calibration_error'])}" for name, one in record["regions"].items()
    )
    return f"""
## Confidence

The temperature ({record["temperature"]:.2f}) was fitted to predictions of regions and of random
folds by models that had not seen them: the median over the regions, since one odd region must not
decide, and midway between this and the one at home. The expected calibration error is
{share(home)} at home and at most {share(worst)} in a region left out, by a temperature that was
fitted without this region. These errors may be too low, since the median was chosen with them in
view. With one temperature for the other regions together, they are: {joint}.
"""


def unknown(record: Mapping[str, Any]) -> str:
    """The limits, their effect in regions left out, and what a crop left out comes out as."""
    limits, levels = record["limits"], next(iter(record["regions"].values()))["levels"]
    parcel, left_out = limits["parcel"], record["false_sure"]
    known = [
        (name, *(share(one["levels"][level]) for level in levels))
        for name, one in record["regions"].items()
    ]
    unseen: list[tuple[str, ...]] = [
        (name, str(one["n"]), share(one["false_sure"]), share(one["if_learned"]),
         share(one["unknown"]), share(one["known_sure"]))
        for name, one in left_out.items()
    ]  # fmt: skip
    keys = ("false_sure", "if_learned", "unknown", "known_sure")
    unseen.append(("mean", "", *(share(mean(left_out, key)) for key in keys)))
    shares = [
        tuple(share(one[key]) for key in ("known_sure", "probability", "sure_right", "false_sure"))
        for one in record["by_share_kept"]
    ]
    columns = ("class left out", "points", "false-sure", "if learned", "unknown",
               "known points sure")  # fmt: skip
    return f"""
## What it does not know

The layer `crop_at_level` of a map and the column `crop:name_at_level` of a table have the finest
class of crop, season or all crops that has a probability of {share(parcel["probability"])}. A point
whose dissimilarity to the training points is above {share(parcel["dissimilarity"])} is unknown, 253
in a map (docs/training.md, "Limits of a model's knowledge"). These two numbers come from the
{limits["n"]:,} points of all regions, each predicted by a model of the others, so that
{100 * limits["kept"]:.0f} % of these points keep a crop, the default of
`cubecrop.training.fit_limits`. The points are single pixels; parcels of many pixels have the same
limits, which were not fitted to such parcels.
{_unreliable(limits)}
Share of the points of each region left out, by the level of their class:

{table(("region left out", *levels), known)}

How sure is it of a crop that it never saw? "False-sure" is the share of the points of such a crop
that come out as another crop all the same; "known points sure" is the share of the points of the
other crops that keep a crop. For each class of the table, networks learned without it and without
one region in turn; no simulated point was of the class either. The limits come from the points of
the other classes, by the same rule:

{table(columns, unseen)}

"If learned" is what can be hoped for: the share of the points of the class that pass for another
one if a model has learned the class with labels, and is told to look for it alone. The 80 % of the
other points that are least like the class are kept.

So a crop that the model names may well be another one that it does not have. Where it must not be,
ask for more: use only the points with a higher confidence. Means over the classes left out:

{table(("known points kept", "least confidence", "of these right", "false-sure"), shares)}

`model.with_limits(model.limits.with_probability(0.85))` names a season, or only "crop", below a
confidence of .85.

Models are less sure in a region that they have not seen, and limits that keep 80 % there are low:
plain networks of Canada, with limits of Canada, have a false-sure share of .36 (`python -m
benchmarks.unknown ../shared/data`). Where other crops grow, fit limits on parcels of your region,
or mask these crops.
"""


def _unreliable(limits: Mapping[str, Any]) -> str:
    names = [area["name"] for area in limits.get("unreliable", ())]
    if not names:
        return ""
    return f"""
In {" and ".join(names)}, all is unknown: a map has no class there, and a table of parcels the level
"unknown", since models of other regions miss the aim for the group (above). The model has learned
from the points there too, but nothing shows that it is better there. Fine-tune it on parcels of the
region, which lifts this limit.
"""
