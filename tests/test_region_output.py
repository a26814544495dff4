"""What a run writes appears whole or not at all, in folders and in object stores."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from s3 import s3

from cubecrop.errors import OutputError
from cubecrop.region.output import PROOF, Output


@pytest.fixture(scope="module")
def bucket():
    with pytest.MonkeyPatch.context() as patch, s3(patch) as (url, _):
        yield url


@pytest.fixture(params=["folder", "s3", "memory"])
def output(request, tmp_path):
    if request.param == "folder":
        yield Output.at(tmp_path / "run")
        return
    url = "memory://run" if request.param == "memory" else request.getfixturevalue("bucket")
    yield Output.at(url)
    clear(Output(url))


def clear(output):
    for name in (*output.names(), ".b.0.part"):
        output.remove(name)


def write_folder(output, **files):
    with output.new_folder("tiles/a") as part:
        for name, text in files.items():
            (part / f"{name}.json").write_text(text)


def test_files_are_written_listed_read_and_removed(output):
    assert output.names() == output.names("tiles") == []
    assert not output.exists("a.json")
    assert output.read_json("a.json") is None
    with pytest.raises(FileNotFoundError):
        output.read_bytes("a.json")
    output.write_json("a.json", {"n": 1})
    output.write_json("a.json", {"n": 2})
    output.write_bytes("tiles/b.txt", b"no JSON")
    assert output.read_json("a.json") == {"n": 2}
    assert output.read_json("tiles/b.txt") is None
    assert output.names() == ["a.json", "tiles"]
    with output.local("a.json") as path:
        assert path.read_bytes() == b'{\n  "n": 2\n}\n'
    output.remove("a.json")
    output.remove("a.json")
    assert not output.exists("a.json")
    assert output.names() == ["tiles"]


def fail(output, kind, name):
    """Write a half, and raise."""
    with getattr(output, kind)(name) as part:
        (part if kind == "new_file" else part / PROOF).write_text("half")
        assert Path(name).name not in output.names(str(Path(name).parent))
        raise KeyError


def test_nothing_is_seen_of_a_file_or_folder_whose_writer_fails(output):
    for kind in ("new_file", "new_folder"):
        with pytest.raises(KeyError):
            fail(output, kind, "tiles/a")
        assert output.names("tiles") == []


def test_an_earlier_folder_stays_until_its_replacement_is_complete(output):
    write_folder(output, first="1", evidence="1")
    with pytest.raises(KeyError), output.new_folder("tiles/a"):
        raise KeyError
    assert output.names("tiles/a") == ["evidence.json", "first.json"]
    write_folder(output, second="2", evidence="2")
    assert output.names("tiles/a") == ["evidence.json", "second.json"]
    assert output.read_json(f"tiles/a/{PROOF}") == 2
    assert output.names("tiles") == ["a"]
    output.remove("tiles/a")
    assert output.names("tiles") == []


def test_hidden_files_are_not_listed(output):
    output.write_bytes(".b.0.part/b.part", b"half")
    output.write_bytes("b", b"whole")
    assert output.names() == ["b"]


def test_names_stay_within_the_folder(output):
    for name in ("../a", "tiles/../../a", "/etc/a", "tiles\\a"):
        with pytest.raises(OutputError, match="leads out of"):
            output.write_bytes(name, b"")
        with pytest.raises(OutputError, match="leads out of"), output.new_folder(name):
            pass
        with pytest.raises(OutputError, match="leads out of"):
            output.names(name)


def test_of_a_remote_raster_only_what_is_read_is_fetched(bucket, monkeypatch):
    s3fs = pytest.importorskip("s3fs")

    output = Output.at(bucket)
    values = np.random.default_rng(0).integers(0, 200, (1024, 1024), dtype="uint8")
    with output.new_file("a.tif") as path:
        profile = {"dtype": "uint8", "count": 1, "crs": "EPSG:32631"}
        with rasterio.open(
            path, "w", driver="COG", width=1024, height=1024, blocksize=128,
            transform=from_origin(500_000, 5_650_000, 10, 10), **profile,
        ) as raster:  # fmt: skip
            raster.write(values, 1)
        size = path.stat().st_size
    fetched = []
    fetch = s3fs.core.S3File._fetch_range

    def spy(file, start, end):
        fetched.append(end - start)
        return fetch(file, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", spy)
    with output.raster("a.tif") as raster:
        small = raster.read(1, out_shape=(64, 64))
    assert sum(fetched) < size / 3
    with output.raster("a.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), values)
    assert set(np.unique(small)) <= set(range(200))
    output.remove("a.tif")


@pytest.fixture
def asked(bucket, monkeypatch):
    """Uploads and removals of an object store, in their order; `fail` says which to refuse."""
    files = Output.at(bucket)._files()

    class Calls(list):
        fail = None

    calls = Calls()
    for method in ("put_file", "rm_file", "rm"):
        real = getattr(files, method)

        def spy(*args, method=method, real=real, **options):
            name = str(args[-1]).removeprefix(f"{bucket}/")
            calls.append((method, name))
            if calls.fail == name:
                raise PermissionError(errno.EACCES, "Access Denied")
            return real(*args, **options)

        monkeypatch.setattr(files, method, spy)
    yield calls
    calls.fail = None
    clear(Output(bucket))


def test_the_proof_is_uploaded_last_and_removed_first(bucket, asked):
    output = Output.at(bucket)
    write_folder(output, evidence="1", crop="1", zones="1")
    assert [name for _, name in asked] == [
        "tiles/a/crop.json", "tiles/a/zones.json", f"tiles/a/{PROOF}",
    ]  # fmt: skip
    asked.clear()
    write_folder(output, evidence="2")
    assert asked == [
        ("rm_file", f"tiles/a/{PROOF}"), ("rm", "tiles/a"), ("put_file", f"tiles/a/{PROOF}"),
    ]  # fmt: skip


def test_a_folder_of_which_one_upload_fails_leaves_nothing(bucket, asked):
    output = Output.at(bucket)
    asked.fail = "tiles/a/zones.json"
    with pytest.raises(OutputError, match=r"s3://regions/run/tiles/a cannot be .*Access Denied"):
        write_folder(output, evidence="1", crop="1", zones="1")
    assert ("put_file", "tiles/a/crop.json") in asked
    assert output.names("tiles/a") == []


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_names_the_file_and_the_cure(output, monkeypatch):
    with pytest.raises(OutputError, match=r"run/a\.txt cannot be written: .*No space.*Free some"):  # noqa: SIM117
        with output.new_file("a.txt"):
            full()
    with pytest.raises(OutputError, match=r"tiles/a cannot be written: .*No space.*Free some"):  # noqa: SIM117
        with output.new_folder("tiles/a"):
            full()
    if output.folder is not None:
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"a\.json cannot be written: .*No space.*Free some"):
            output.write_json("a.json", {})
    assert output.names("tiles") == []
    assert not output.exists("a.txt")


def test_a_folder_that_may_not_be_written_is_named_with_the_cure(tmp_path, monkeypatch):
    output = Output.at(tmp_path / "run")
    output.write_bytes("a.txt", b"")

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    for write in (
        lambda: output.write_json("state.json", {}),
        lambda: write_folder(output, evidence="1"),
        lambda: output.remove("a.txt"),
    ):
        with pytest.raises(OutputError, match=r"cannot be written: .*Permission.*name another"):
            write()
    assert output.names() == ["a.txt"]


def test_a_storage_that_does_not_answer_is_named_with_the_cure(monkeypatch):
    output = Output.at("memory://run")

    def lost(*_, **__):
        raise RuntimeError("Could not connect")  # as botocore does: no OSError

    for method in ("ls", "exists", "cat_file", "pipe_file", "get_file"):
        monkeypatch.setattr(type(output._files()), method, lost)
    for call in (
        output.names,
        lambda: output.exists("a"),
        lambda: output.read_json("a"),
        lambda: output.write_json("a", {}),
        lambda: output.remove("a"),
        lambda: output.local("a").__enter__(),
    ):
        with pytest.raises(OutputError, match=r"memory://run.*not connect.*Check the"):
            call()


def test_a_bucket_that_is_not_there_is_named(bucket):
    with pytest.raises(OutputError, match=r"s3://none/run/a\.json cannot be written: .*bucket"):
        Output.at("s3://none/run").write_json("a.json", {})


WITHOUT_S3FS = """
import sys
sys.modules["s3fs"] = None
from cubecrop.errors import MissingExtraError
from cubecrop.region.output import Output
try:
    Output.at("s3://b/run")
except MissingExtraError as error:
    print(error)
"""


def test_a_storage_whose_package_is_missing_names_it():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_S3FS], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("s3://b/run needs a package that is not installed")
    assert "pip install 'cubecrop[s3]'" in done.stdout


@pytest.mark.parametrize(
    "out", [None, "", 3, "http://127.0.0.1/run", "s3://bucket/../other", "none://bucket/run"]
)
def test_what_nobody_can_write_to_is_refused(out):
    with pytest.raises(OutputError):
        Output.at(out)


def test_paths_and_addresses_of_one_place_are_equal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Output.at("run") == Output.at(tmp_path / "run") == Output.at(f"file://{tmp_path}/run")
    assert Output.at("memory://run/") == Output.at("memory://run")
    assert Output.at("memory://run").folder is None
