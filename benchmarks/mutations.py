"""Small changes of source code that make wrong maps: what `benchmarks.mutants` draws from.

Each is an edit of one place of a file, so that everything else of it stays as it is. Text that
people read, checks of arguments (``raise``), annotations and docstrings are left alone.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
from collections import defaultdict
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PACKAGES", "Mutant", "Mutation", "draw", "mutations"]

#: What makes a map.
PACKAGES: Final = ("cube", "sample", "model", "classification")

_OPERATORS: Final = {
    "boundary": ((ast.Lt, ast.LtE), (ast.Gt, ast.GtE)),
    "equality": ((ast.Eq, ast.NotEq),),
    "arithmetic": ((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.FloorDiv, ast.Mult)),
    "mask": ((ast.BitAnd, ast.BitOr),),
    "logic": ((ast.And, ast.Or),),
}
#: Functions that are taken one for the other.
_FUNCTIONS: Final = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("nanmin", "nanmax"),
    ("fmin", "fmax"),
    ("argmin", "argmax"),
    ("floor", "ceil"),
    ("any", "all"),
    ("sin", "cos"),
    ("nanmean", "mean"),
    ("isnan", "isfinite"),
    ("zeros", "ones"),
)
#: Words that are taken one for the other, as strings and as members (``Resampling.nearest``).
_WORDS: Final = (("nearest", "bilinear"), ("left", "right"), ("first", "last"), ("mean", "sum"))
#: Names that are swapped where they stand side by side.
_SIDES: Final = (
    ("x", "y"),
    ("width", "height"),
    ("row", "column"),
    ("rows", "columns"),
    ("left", "right"),
    ("lon", "lat"),
    ("longitude", "latitude"),
    ("first", "last"),
    ("start", "stop"),
    ("start", "end"),
    ("low", "high"),
    ("west", "south"),
)
#: Methods whose text people read.
_SHOWN: Final = frozenset({"__repr__", "__str__", "_repr_html_"})
#: Arguments that name an axis: along another one or all is a kind of its own.
_AXES: Final = frozenset({"axis", "dim"})
#: What people read, and what only guards arguments.
_LEFT_ALONE: Final = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
#: Calls of NumPy and torch that write into an array.
_WRITERS: Final = frozenset({"copyto", "fill", "putmask", "masked_fill_", "fill_"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One edit of one file.

    Attributes
    ----------
    kind : str
        What sort of change it is: "boundary", "constant", "statement" and so on.
    function : str
        Where it is: the qualified name of a function or class, or "" at the top of the module.
    start, end : int
        The bytes that are replaced.
    lines : tuple of int
        First and last line of the statement.
    at_import : bool
        Whether it runs when the module is imported: constants, fields, defaults.
    before, after : str
        The text that stands there, and what replaces it.
    """

    kind: str
    function: str
    start: int
    end: int
    lines: tuple[int, int]
    at_import: bool
    before: str
    after: str

    def apply(self, source: str) -> str:
        """Give the source with the edit made."""
        data = source.encode()
        return (data[: self.start] + self.after.encode() + data[self.end :]).decode()


def mutations(source: str) -> list[Mutation]:
    """All mutations of a module's source, in the order of the file."""
    return sorted(_Finder(source).found, key=lambda one: (one.start, one.end, one.after))


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation of a file of the library."""

    path: str
    mutation: Mutation

    @property
    def key(self) -> str:
        """The same for the same fault in the same source."""
        text = json.dumps([self.path, asdict(self.mutation)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def draw(root: Path, count: int, seed: int) -> list[Mutant]:
    """Draw mutants: equal parts of each package, and in it the kinds in turns."""
    chosen = []
    for number, package in enumerate(PACKAGES):
        rng = random.Random(f"{seed} {package}")
        kinds = defaultdict(list)
        for path in sorted((root / "cubecrop" / package).rglob("*.py")):
            for one in mutations(path.read_text()):
                kinds[one.kind].append(Mutant(path.relative_to(root).as_posix(), one))
        for mutants in kinds.values():
            rng.shuffle(mutants)
        wanted = (count + number) // len(PACKAGES)
        while wanted and any(kinds.values()):
            for kind in rng.sample(sorted(kinds), len(kinds)):
                if wanted and kinds[kind] and _parses(root, kinds[kind][-1]):
                    chosen.append(kinds[kind][-1])
                    wanted -= 1
                del kinds[kind][-1:]
    return chosen


def _parses(root: Path, mutant: Mutant) -> bool:
    try:
        ast.parse(mutant.mutation.apply((root / mutant.path).read_text()))
    except SyntaxError:
        return False
    return True


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.offsets = [0]
        for line in self.data.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.found: list[Mutation] = []
        self.names: list[str] = []
        self.lines = (1, 1)
        self.at_import = True
        self.visit(ast.parse(source))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, _LEFT_ALONE):
            return
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
            self.lines = (node.lineno, last or node.lineno)
            if _removable(node):
                self._add("statement", node, "pass")
        if isinstance(node, ast.expr):
            for kind, after in _changes(node):
                self._add(kind, node, after)
        super().visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        outer = self.lines
        for child in ast.iter_child_nodes(node):
            self.lines = outer
            self.visit(child)

    def _add(self, kind: str, node: ast.expr | ast.stmt, after: str) -> None:
        start = self.offsets[node.lineno - 1] + node.col_offset
        end = self.offsets[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = " ".join(self.data[start:end].decode().split())
        name = ".".join(self.names)
        self.found.append(
            Mutation(
                kind=kind,
                function=name,
                start=start,
                end=end,
                lines=self.lines,
                at_import=self.at_import,
                before=before,
                after=after,
            )
        )

    def _named(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if node.name in _SHOWN:
            return
        self.names.append(node.name)
        if not isinstance(node, ast.ClassDef):
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                self.visit(default)
        outer = self.at_import
        self.at_import = outer and isinstance(node, ast.ClassDef)
        for child in node.body:
            self.visit(child)
        self.at_import = outer
        self.names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._named(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._named(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._named(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in {"isinstance", "cast", "TypeVar"}:
            return
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in _AXES:
            self.generic_visit(node)


def _changes(node: ast.expr) -> Iterator[tuple[str, str]]:
    """Kind and new text of each change of an expression itself, its parts left alone."""
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for kind, to in _other_operator(op):
                    yield kind, _with(node, ops=[*node.ops[:i], to, *node.ops[i + 1 :]])
        case ast.BinOp() | ast.BoolOp() if not _is_text(node):
            for kind, to in _other_operator(node.op):
                yield kind, _with(node, op=to)
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub()):
            kind = {ast.Not: "logic", ast.Invert: "mask"}.get(type(node.op), "arithmetic")
            yield kind, f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool()):
            yield "switch", str(not node.value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", repr(value + 1)
            yield "constant", f"({value - 1!r})"
        case ast.Constant(value=str() as word):
            for to in _other(word, _WORDS):
                yield "word", repr(to)
        case ast.Attribute():
            for to in _other(node.attr, _WORDS):
                if isinstance(node.value, ast.Name) and node.value.id == "Resampling":
                    yield "word", _with(node, attr=to)
        case ast.Call():
            yield from _other_function(node)
            for args in _swapped(node.args):
                yield "swap", _with(node, args=args)
            yield from _other_axis(node)
        case ast.Tuple(ctx=ast.Load()):
            for elts in _swapped(node.elts):
                yield "swap", _with(node, elts=elts)


def _with(node: ast.expr, **changed: object) -> str:
    """Give the text of a node with some of its fields changed."""
    copy = deepcopy(node)
    for name, value in changed.items():
        setattr(copy, name, value)
    text = ast.unparse(copy)
    return text if isinstance(node, ast.Call | ast.Attribute | ast.Tuple) else f"({text})"


def _other_operator(op: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for kind, pairs in _OPERATORS.items():
        for pair in pairs:
            if type(op) in pair:
                yield kind, pair[pair.index(type(op)) == 0]()
                return


def _other(word: str, pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for one, two in pairs:
        if word in {one, two}:
            yield two if word == one else one


def _other_function(node: ast.Call) -> Iterator[tuple[str, str]]:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            field = "id" if isinstance(node.func, ast.Name) else "attr"
            for to in _other(name, _FUNCTIONS):
                func = deepcopy(node.func)
                setattr(func, field, to)
                yield "function", _with(node, func=func)


def _other_axis(node: ast.Call) -> Iterator[tuple[str, str]]:
    """Give the call along another axis, and without its axis."""
    for i, keyword in enumerate(node.keywords):
        if keyword.arg in _AXES:
            rest = [*node.keywords[:i], *node.keywords[i + 1 :]]
            yield "axis", _with(node, keywords=rest)
            if isinstance(keyword.value, ast.Constant | ast.UnaryOp):
                value = ast.literal_eval(keyword.value)
                other = {0: 1, 1: 0, -1: -2, -2: -1, "x": "y", "y": "x"}.get(value)
                if other is not None:
                    changed = ast.keyword(arg=keyword.arg, value=ast.Constant(other))
                    yield "axis", _with(node, keywords=[*rest, changed])


def _swapped(items: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for i, (one, two) in enumerate(pairwise(items)):
        if any({_last_name(one), _last_name(two)} == set(pair) for pair in _SIDES):
            yield [*items[:i], two, one, *items[i + 2 :]]


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return name
        case ast.Constant(value=str() as name):
            return name
    return ""


def _is_text(node: ast.AST) -> bool:
    """Whether strings are put together: that makes text, no map."""
    return any(
        isinstance(one, ast.JoinedStr)
        or (isinstance(one, ast.Constant) and isinstance(one.value, str))
        for one in (getattr(node, "left", None), getattr(node, "right", None))
    )


def _removable(node: ast.stmt) -> bool:
    """Whether a statement masks, changes an array in place, or changes a value that was there."""
    match node:
        case ast.Assign(targets=[ast.Subscript()]) | ast.AugAssign():
            return True
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(value))
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))):
            return name in _WRITERS
        case ast.If(body=[ast.Continue() | ast.Break() | ast.Return()], orelse=[]):
            return True
    return False
