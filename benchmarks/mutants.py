"""Do the tests see wrong maps? Small faults are put into the library, and tests must fail.

``python -m benchmarks.mutants --out FOLDER`` draws faults by a seed, in equal parts from the four
packages that make a map and evenly over the kinds of `benchmarks.mutations`. Each is put into a
copy of the library in a temporary folder, and the tests that reach its lines run there, the
shortest first, until one fails. What is found is kept in FOLDER, and a run that is repeated goes
on: what a test has seen stays seen, all else is tried again. Needs pytest-cov.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import pytest
from coverage import CoverageData
from rich.console import Console
from rich.table import Table

from benchmarks.mutations import PACKAGES, Mutant, draw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main"]

ROOT: Final = Path(__file__).parents[1]
#: Tests of other parts, and those that need servers or minutes: they are no judges here.
_NO_JUDGES: Final = (
    "benchmark",
    "docs",
    "integration",
    "pgstac",
    "scoreboard",
    "simulate",
    "scale",
)
#: Processes that have what takes seconds to import, and nothing of the library.
_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = ("distributed", "geopandas", "numba", "odc.geo.xr", "rasterio", "torch")
#: Seconds of the tests that judge one mutant, as they took without it.
_BUDGET: Final = 60.0
#: Seconds after which a test hangs, and after which a whole run of them is given up.
_TEST_TIMEOUT: Final = 120
_RUN_TIMEOUT: Final = 600


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of library and tests in a temporary folder, beside it the data that tests find."""
    with tempfile.TemporaryDirectory(prefix="cubecrop-mutants-") as folder:
        root = Path(folder) / "tree"
        skip = shutil.ignore_patterns("__pycache__", ".*_cache")
        for name in ("cubecrop", "tests", "benchmarks", "docs", "examples"):
            shutil.copytree(ROOT / name, root / name, ignore=skip)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(ROOT / name, root / name)
        if (ROOT.parent / "shared").is_dir():
            (Path(folder) / "shared").symlink_to(ROOT.parent / "shared")
        compileall = [sys.executable, "-m", "compileall", "-q", "cubecrop"]
        subprocess.run(compileall, cwd=root, check=True)
        yield root


def _pytest(root: Path, *arguments: str, **own: str) -> tuple[int, str]:
    """Run pytest in a copy: exit status and output; -1 where it takes too long."""
    log = root.parent / "log"
    # A mutated file may have size and second of the one before: no bytecode is kept of it.
    own |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    settings = ["-p", "no:cacheprovider", f"--basetemp={root.parent / 'tmp'}"]
    process = _PROCESSES.Process(target=_child, args=(root, log, [*settings, *arguments], own))
    process.start()
    process.join(None if "COVERAGE_FILE" in own else _RUN_TIMEOUT)
    status = process.exitcode
    with suppress(ProcessLookupError):  # and what servers and workers a test left running
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return -1 if status is None else status, log.read_text(errors="replace")


def _child(root: Path, log: Path, arguments: list[str], own: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(own)
    os.chdir(root)
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(pytest.main(arguments))


class Reach:
    """Which tests run which lines, and how long each takes; gathered once and kept in a folder."""

    def __init__(self, out: Path) -> None:
        self.coverage = out / "coverage"
        self.kept = out / "tests.json"
        known = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        library = _digest(*sorted((ROOT / "cubecrop").rglob("*.py")))
        if known.get("library") != library:
            known = {"library": library, "files": {}, "seconds": {}}
            self.coverage.unlink(missing_ok=True)
        judges = [
            path
            for path in sorted((ROOT / "tests").glob("test_*.py"))
            if not any(word in path.name for word in _NO_JUDGES)
        ]
        digests = {path.relative_to(ROOT).as_posix(): _digest(path) for path in judges}
        stale = {name for name, digest in digests.items() if known["files"].get(name) != digest}
        seconds = {
            name: value
            for name, value in known["seconds"].items()
            if name.split("::")[0] in digests.keys() - stale
        }
        if stale:
            seconds |= self._gather(sorted(stale))
            _write(self.kept, {"library": library, "files": digests, "seconds": seconds})
        self.seconds: dict[str, float] = seconds
        self.data = CoverageData(str(self.coverage))
        self.data.read()

    def _gather(self, files: list[str]) -> dict[str, float]:
        with _copy() as root:
            status, output = _pytest(
                root,
                *("-n2", "--dist=loadfile", "-m", "not slow", "--junitxml=junit.xml"),
                *("--cov=cubecrop", "--cov-append", "--cov-context=test", "--cov-report="),
                *files,
                COVERAGE_FILE=str(self.coverage),
            )
            if status not in (0, 1):
                raise SystemExit(f"The tests do not run:\n{output}")
            seconds, unfit = {}, set()
            for case in ET.parse(root / "junit.xml").iter("testcase"):
                name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
                seconds[name] = float(case.attrib["time"])
                # Skipped, failing without any fault, or named after the folder of this copy.
                if len(case) or str(root) in name:
                    unfit.add(name)
            return {name: value for name, value in seconds.items() if name not in unfit}

    def judges(self, mutant: Mutant) -> list[str]:
        """Tests that run the mutant's lines, the shortest first, up to a budget of time."""
        package = mutant.path.rsplit("/", 1)[0]
        first, last = mutant.mutation.lines
        nearest: set[str] = set()
        if not mutant.mutation.at_import:
            nearest = self._of(mutant.path, range(first, last + 1))
        # Of compiled loops and of what runs at import no line is told: whoever uses the module.
        others = self._of(mutant.path) or self._of(package)
        ordered = sorted(nearest | others, key=lambda one: (one not in nearest, self.seconds[one]))
        total = accumulate(self.seconds[name] for name in ordered)
        return [name for name, until in zip(ordered, total, strict=True) if until < _BUDGET]

    def _of(self, path: str, lines: range | None = None) -> set[str]:
        found = set()
        for file in self.data.measured_files():
            if f"/{path}" in file:
                for line, contexts in self.data.contexts_by_lineno(file).items():
                    if lines is None or line in lines:
                        found |= {name.rsplit("|", 1)[0] for name in contexts}
        return found & self.seconds.keys()


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _write(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1))
    part.replace(path)


def judge(root: Path, mutant: Mutant, tests: list[str]) -> dict[str, Any]:
    """Put a mutant into a copy, run the tests until one fails, and take it out again."""
    file = root / mutant.path
    (root / "judges.txt").write_text("\n".join(tests))
    file.write_text(mutant.mutation.apply((ROOT / mutant.path).read_text()))
    status, output = _pytest(
        root,
        "-x",
        "-rfE",
        "-m",
        "not slow",
        "--tb=line",
        f"--timeout={_TEST_TIMEOUT}",
        "@judges.txt",
    )
    shutil.copy2(ROOT / mutant.path, file)
    if "not found: " in output:
        raise SystemExit(f"The tests are others than those that were gathered:\n{output}")
    fails = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    before = (ROOT / mutant.path).read_bytes()[: mutant.mutation.start]
    return {
        "key": mutant.key,
        "status": {0: "survived", -1: "unfinished"}.get(status, "seen"),
        "path": mutant.path,
        "line": before.count(b"\n") + 1,
        "function": mutant.mutation.function,
        "kind": mutant.mutation.kind,
        "before": mutant.mutation.before,
        "after": mutant.mutation.after,
        "tests": len(tests),
        "by": fails[0] if fails else output[-500:] if status else "",
    }


def run(
    out: Path, *, count: int, seed: int, workers: int, only: Sequence[str], console: Console
) -> list[Any]:
    """Judge the mutants drawn that no test has seen yet; give all that is known of them."""
    _PROCESSES.set_forkserver_preload(list(_PRELOADED))
    out.mkdir(parents=True, exist_ok=True)
    reach = Reach(out)
    mutants = [one for one in draw(ROOT, count, seed) if not only or one.key in only]
    kept = out / "mutants.json"
    known = {one["key"]: one for one in json.loads(kept.read_text())} if kept.exists() else {}
    left = [one for one in mutants if known.get(one.key, {}).get("status") != "seen"]
    left.sort(key=lambda one: one.key)  # those of all packages in turns
    tests = {mutant.key: reach.judges(mutant) for mutant in left}
    with ExitStack() as stack:
        copies: SimpleQueue[Path] = SimpleQueue()
        for _ in range(workers):
            copies.put(stack.enter_context(_copy()))

        def one(mutant: Mutant) -> dict[str, Any]:
            root = copies.get()
            try:
                return judge(root, mutant, tests[mutant.key])
            finally:
                copies.put(root)

        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for done in as_completed([pool.submit(one, mutant) for mutant in left]):
            result = done.result()
            known[result["key"]] = result
            _write(kept, list(known.values()))
            console.print(_told(result), markup=False, highlight=False, soft_wrap=True)
    return [known[one.key] for one in mutants]


def _told(result: dict[str, Any]) -> str:
    place = f"{result['path']}:{result['line']} {result['function']}"
    return f"{result['status']} {result['key']} {place}: {result['before']} -> {result['after']}"


def main() -> None:
    """Judge mutants and print how many of each package survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--count", type=int, default=100, help="mutants that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, choices=(1, 2))
    parser.add_argument("--only", nargs="*", default=(), metavar="KEY", help="mutants by their key")
    chosen = parser.parse_args()
    console = Console()
    results = run(
        chosen.out.resolve(),
        count=chosen.count,
        seed=chosen.seed,
        workers=chosen.workers,
        only=chosen.only,
        console=console,
    )
    table = Table("package", "mutants", "seen", "survived", "unfinished")
    for package in (*PACKAGES, ""):
        of = [one["status"] for one in results if f"/{package}" in one["path"]]
        counts = [len(of), *(of.count(name) for name in ("seen", "survived", "unfinished"))]
        table.add_row(package or "all", *map(str, counts))
    console.print(table)
    for result in results:
        if result["status"] != "seen":
            console.print(_told(result), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
