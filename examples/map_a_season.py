"""Train on declared parcels, classify every parcel, and map the whole area.

Run as ``python examples/map_a_season.py PARCELS LABEL YEAR ARCHIVE [--out FOLDER]``; PARCELS
is a vector file with a column ``id``, LABEL the column that holds the crop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cubecrop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parcels", type=Path)
    parser.add_argument("label")
    parser.add_argument("year", type=int)
    parser.add_argument("archive")
    parser.add_argument("--out", type=Path, default=Path("season"))
    parser.add_argument("--epochs", type=int, help="passes over the parcels")
    given = parser.parse_args()

    config = cubecrop.TrainConfig(epochs=given.epochs)
    model = cubecrop.train(
        given.parcels, given.label, given.year, archive=given.archive, config=config
    )
    model.save(given.out / "model")
    for part, values in model.scores.items():
        print(f"{part}: {values['n']:.0f} parcels, {values['accuracy']:.1%} right")

    table = cubecrop.classify_parcels(given.parcels, given.year, archive=given.archive, model=model)
    cubecrop.write_parcels(table, given.out / "parcels.parquet")

    crop_map = cubecrop.classify(given.parcels, given.year, archive=given.archive, model=model)
    cubecrop.write_map(crop_map, given.out / "map")
    print(f"Written to {given.out}: see {given.out / 'map' / 'quicklook.png'}")


if __name__ == "__main__":
    main()
