"""The faults that `benchmarks.mutants` puts into the library."""

import pytest

from benchmarks.mutations import PACKAGES, draw, mutations

MODULE = '''"""Text: 1 < 2."""

LIMIT: int = 3


def cut(x, y, *, least=2):
    """No more than 5."""
    if x < 0:
        raise ValueError(f"{x + 1} < 0")
    x[~(x > least)] = 0
    return np.max(x, axis=1) + y
'''


def edits(source: str) -> set[tuple[str, str, str]]:
    return {(one.kind, one.before, one.after) for one in mutations(source)}


@pytest.mark.parametrize(
    ("source", "kind", "after"),
    [
        ("a < b", "boundary", "(a <= b)"),
        ("a == b != c", "equality", "(a == b == c)"),
        ("a - b", "arithmetic", "(a + b)"),
        ("-a", "arithmetic", "(a)"),
        ("a & ~b", "mask", "(a | ~b)"),
        ("~b", "mask", "(b)"),
        ("a and b", "logic", "(a or b)"),
        ("not a", "logic", "(a)"),
        ("1.5", "constant", "(0.5)"),
        ("True", "switch", "False"),
        ("np.nanmin(a)", "function", "np.nanmax(a)"),
        ("a.any(axis=0)", "axis", "a.any(axis=1)"),
        ("a.any(axis=0)", "axis", "a.any()"),
        ("f(z, grid.width, grid.height)", "swap", "f(z, grid.height, grid.width)"),
        ("a['y'], a['x']", "swap", "(a['x'], a['y'])"),
        ("Resampling.nearest", "word", "Resampling.bilinear"),
        ("f('bilinear')", "word", "'nearest'"),
        ("a[b] = c", "statement", "pass"),
        ("a &= b", "statement", "pass"),
        ("a = a.where(b)", "statement", "pass"),
        ("np.copyto(a, b)", "statement", "pass"),
    ],
)
def test_each_kind_of_fault_is_found(source, kind, after):
    assert (kind, after) in {(one, to) for one, _, to in edits(source)}


def test_text_and_argument_checks_get_no_faults():
    assert edits(MODULE) == {
        ("constant", "3", "4"),
        ("constant", "3", "(2)"),
        ("constant", "2", "3"),
        ("constant", "2", "(1)"),
        ("boundary", "x < 0", "(x <= 0)"),
        ("constant", "0", "1"),
        ("constant", "0", "(-1)"),
        ("statement", "x[~(x > least)] = 0", "pass"),
        ("mask", "~(x > least)", "(x > least)"),
        ("boundary", "x > least", "(x >= least)"),
        ("arithmetic", "np.max(x, axis=1) + y", "(np.max(x, axis=1) - y)"),
        ("function", "np.max(x, axis=1)", "np.min(x, axis=1)"),
        ("axis", "np.max(x, axis=1)", "np.max(x)"),
        ("axis", "np.max(x, axis=1)", "np.max(x, axis=0)"),
    }


def test_an_edit_changes_only_one_place():
    source = "é = 'é'; b = (é  <  c)  # why\nd = 1\n"
    (one,) = (one for one in mutations(source) if one.kind == "boundary")
    assert one.apply(source) == "é = 'é'; b = ((é <= c))  # why\nd = 1\n"


def test_import_time_code_differs_from_code_that_tests_call():
    found = {(one.before, one.function): one.at_import for one in mutations(MODULE)}
    assert found["3", ""]
    assert found["2", "cut"]
    assert not found["x < 0", "cut"]
    assert {one.lines for one in mutations(MODULE) if one.before == "x < 0"} == {(8, 8)}


def test_the_draw_depends_on_the_seed_and_is_spread(tmp_path):
    for package in PACKAGES:
        folder = tmp_path / "cubecrop" / package
        folder.mkdir(parents=True)
        (folder / "one.py").write_text(MODULE)
    drawn = draw(tmp_path, 30, seed=0)
    assert draw(tmp_path, 30, seed=0) == drawn
    assert draw(tmp_path, 30, seed=1) != drawn
    assert len({one.key for one in drawn}) == 30
    assert [sum(f"/{name}/" in one.path for one in drawn) for name in PACKAGES] == [7, 7, 8, 8]
    kinds = {one.kind for one in mutations(MODULE)}
    for package in PACKAGES:
        assert {m.mutation.kind for m in drawn if f"/{package}/" in m.path} == kinds
