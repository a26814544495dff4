"""A headless Chromium: what a page looks like to it, and what it writes to the console."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
#: A message of a page, as Chromium logs it: a script's, or of a refused or failed request.
_CONSOLE = re.compile(r"CONSOLE[:(]\d+\)?\]? (.*)")


@dataclass(frozen=True)
class Seen:
    """The document after its scripts, and what the page wrote to the console."""

    document: str
    console: list[str]


def look(address: str, home: Path, *options: str) -> Seen:
    """Open an address; options are those of Chromium, such as ``--screenshot=FILE``."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr",
        "--v=0", f"--user-data-dir={home}", "--virtual-time-budget=5000",
        *(options or ("--dump-dom",)), address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return Seen(done.stdout, _CONSOLE.findall(done.stderr))
