"""Run the benchmarks without asv and print a table: ``python -m benchmarks [CLASS ...]``."""

from __future__ import annotations

import argparse
import os

from rich.console import Console
from rich.table import Table

from benchmarks.demonstration import Demo
from benchmarks.end_to_end import EndToEnd, EndToEndOpenEo, EndToEndTwoSatellites
from benchmarks.evaluation import ReportOfPredictions
from benchmarks.graph import ClassifyGraph
from benchmarks.loading import LoadFromDisk, LoadOverHttp, OpenSeason
from benchmarks.networks import MaskedNetworks, Networks, NetworksOnACard, PixelMap
from benchmarks.reading import ReadSeason
from benchmarks.region import RegionBytes, RegionBytes1024, RegionWorkers, RegionWorkersSeason
from benchmarks.region_memory import RegionMemory, RegionTile
from benchmarks.region_plan import RegionPlan, RegionPlanSmallTiles
from benchmarks.runner import measure
from benchmarks.sampling import ParcelStatistics, PlaceParcels, SampleParcels
from benchmarks.simulating import Simulate
from benchmarks.training import TrainingCost, TrainingStep
from benchmarks.training_store import TrainingFromDisk
from benchmarks.whole_season import (
    SampleSeason,
    WholeSeason,
    WholeSeason140,
    WholeSeason140Of1024,
    WholeSeason1024,
)
from benchmarks.whole_season_http import WholeSeasonOverHttp, WholeSeasonOverHttp1024

SUITES = (
    ClassifyGraph,
    Demo,
    Simulate,
    ReadSeason,
    PlaceParcels,
    SampleParcels,
    ParcelStatistics,
    LoadFromDisk,
    LoadOverHttp,
    OpenSeason,
    Networks,
    MaskedNetworks,
    PixelMap,
    NetworksOnACard,
    TrainingStep,
    TrainingCost,
    ReportOfPredictions,
)
#: Suites that take many minutes each; they run only if named.
LONG = (
    RegionPlan,
    RegionPlanSmallTiles,
    RegionBytes,
    RegionBytes1024,
    RegionWorkers,
    RegionWorkersSeason,
    RegionMemory,
    RegionTile,
    WholeSeason,
    WholeSeason1024,
    WholeSeason140,
    WholeSeason140Of1024,
    WholeSeasonOverHttp,
    WholeSeasonOverHttp1024,
    SampleSeason,
    EndToEnd,
    EndToEndTwoSatellites,
    EndToEndOpenEo,
    TrainingFromDisk,
)
#: Upper bounds by suite and benchmark, in the benchmark's unit.
TARGETS = {
    ("ClassifyGraph", "time_build"): 5,
    ("ClassifyGraph", "track_tasks"): 20_000,
    ("ClassifyGraph", "track_pickled"): 1000,
    ("ClassifyGraph", "track_peak"): 1000,
    ("PlaceParcels", "time_build"): 100,
    ("PlaceParcels", "peakmem_build"): 4000,
    ("LoadFromDisk", "track_share_of_pool"): 1.3,
    ("LoadOverHttp", "track_share_of_pool"): 1.3,
    **{
        (suite.__name__, name): maximum
        for suite in (WholeSeason, WholeSeason1024, WholeSeason140, WholeSeason140Of1024)
        for name, maximum in (("track_share_of_pool", 1.5), ("track_parcels_share_of_pool", 1.3))
    },
    **{
        (suite.__name__, name): 1.1
        for suite in (WholeSeasonOverHttp, WholeSeasonOverHttp1024)
        for name in (
            "track_requests",
            "track_parcels_requests",
            "track_bytes",
            "track_parcels_bytes",
        )
    },
    ("SampleSeason", "track_share_of_reading"): 1.2,
    ("EndToEnd", "track_parcels"): 12,
    ("EndToEndTwoSatellites", "track_map"): 1.2,
    ("OpenSeason", "time_search_and_open"): 0.5,
    ("OpenSeason", "track_tasks"): 20_000,
    ("OpenSeason", "track_tasks_run"): 5000,
    ("Demo", "track_duration"): 120,
    ("Demo", "track_peak"): 2500,
    ("Simulate", "track_duration"): 25,
    ("Simulate", "track_peak"): 1000,
    ("Simulate", "track_peak_twice_the_side"): 1000,
    ("Simulate", "track_disk"): 100,
    ("PixelMap", "track_default"): 0.8,
    ("TrainingCost", "track_share_of_plain"): 0.5,
    ("TrainingStep", "peakmem_late_ltae"): 2000,
    ("TrainingStep", "peakmem_early_tae"): 2000,
    ("TrainingStep", "peakmem_mid_transformer"): 2000,
    ("TrainingStep", "peakmem_mid_gru"): 2000,
    ("TrainingStep", "peakmem_every_statistic"): 2000,
    ("TrainingFromDisk", "peakmem_fit"): 4000,
    ("TrainingFromDisk", "track_bytes"): 2,
    **{
        (suite.__name__, name): 1.25
        for suite in (RegionBytes, RegionBytes1024)
        for name in ("track_map", "track_parcels")
    },
    ("RegionWorkers", "track_engine"): 5,
    ("RegionWorkersSeason", "track_engine"): 5,
    ("RegionMemory", "track_of_bound"): 1,
    ("RegionMemory", "track_growth"): 1.1,
    ("RegionTile", "track_of_bound"): 1,
    ("ReportOfPredictions", "time_read_and_write"): 60,
    ("ReportOfPredictions", "track_page"): 5,
}
#: Lower bounds by suite and benchmark, in the benchmark's unit.
LEAST = {
    ("ParcelStatistics", "track_faster"): 15,
    ("TrainingFromDisk", "track_speed"): 0.8,
    ("RegionWorkers", "track_faster"): 1.8,
    ("RegionWorkersSeason", "track_faster"): 1.8,
    **{
        ("Networks", f"track_{network}_{sets}"): 3
        for network in ("tae", "ltae")
        for sets in ("parcels", "pixels")
    },
    **{
        ("MaskedNetworks", f"track_{kind}_{what}_{n}"): minimum
        for kind, minimum in (("tae", 3), ("ltae", 3), ("default", 6))
        for what in ("parcels", "pixels")
        for n in MaskedNetworks.dates
    },
}


def main() -> None:
    """Run the named suites, by default all but those that take many minutes."""
    usual, long = ([suite.__name__ for suite in suites] for suites in (SUITES, LONG))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    text = f"{', '.join(usual)}; only if named: {', '.join(long)}"
    parser.add_argument("suites", nargs="*", metavar="CLASS", help=text)
    names = parser.parse_args().suites or usual
    if unknown := set(names) - {*usual, *long}:
        parser.error(f"no benchmark class {sorted(unknown)}, choose among {usual + long}")
    console = Console()
    for suite in (*SUITES, *LONG):
        if suite.__name__ in names:
            try:
                console.print(as_table(suite, measure(suite)))
            except NotImplementedError as why:
                console.print(f"{suite.__name__} is left out: {why}")


def as_table(suite: type, results: dict[str, tuple[float, str]]) -> Table:
    """Table the values with their target and their ratio to cubecrop's value in the same unit."""
    table = Table(title=f"{suite.__name__} ({os.cpu_count()} cores)", title_justify="left")
    for column in ("benchmark", "value", "unit", "ratio", "target"):
        table.add_column(column, justify="left" if column in {"benchmark", "unit"} else "right")
    for name, (value, unit) in results.items():
        ours = results.get(f"{name.split('_')[0]}_cubecrop")
        if ours and ours[1] != unit:
            ours = None
        maximum, minimum = (t.get((suite.__name__, name)) for t in (TARGETS, LEAST))
        table.add_row(
            name,
            f"{value:,.0f}" if value >= 100 else f"{value:.3g}",
            unit,
            f"{value / ours[0]:.2f}" if ours else "",
            _verdict(value, maximum, minimum),
        )
    return table


def _verdict(value: float, maximum: float | None, minimum: float | None) -> str:
    """State the target and whether the value meets it; "" without a target."""
    if maximum:
        return f"< {maximum:,} {'met' if value < maximum else 'MISSED'}"
    return f"> {minimum:,} {'met' if value > minimum else 'MISSED'}" if minimum else ""


if __name__ == "__main__":
    main()
