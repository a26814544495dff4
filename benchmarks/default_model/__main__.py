"""Train, score and write the default model, or check that its recipe still gives it.

``python -m benchmarks.default_model`` reads the real points beside the project, trains the model
and the models that its scores need (each of two regions left out, each region left out, random
folds), and writes ``cubecrop/model/shipped/default/`` and ``docs/default-model.md``. Predictions
of a finished training stay in ``--work``, so that an interrupted run continues.

``--check`` trains the shipped model again and compares its predictions with those of the shipped
one. ``--page`` only writes the page from the record.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.default_model import making
from benchmarks.default_model.points import DATA


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.default_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the points")
    parser.add_argument("--work", type=Path, default=Path("default-model-work"))
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--check", action="store_true", help="train again and compare")
    kind.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    if options.page:
        making.write_page()
    elif options.check:
        making.check(options.data)
    else:
        making.make(options.data, options.work)


if __name__ == "__main__":
    main()
