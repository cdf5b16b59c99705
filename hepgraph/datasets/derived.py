"""Derived fields: expressions of a schema, as graphs over the fields of a collection.

An expression is Python's: names of fields (`momentum.x` for one inside of another), numbers, arithmetic, comparisons,
`&`, `|` and `~`, and the functions of the table of operations by NumPy's names, `where` among them. A whole expression
may be one vector, `vector(x, y, z)` or `vector(pt=rawPt, eta=eta, phi=phi)`: a record of such fields.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from operator import and_, getitem
from typing import Any, TypeVar

import awkward as ak
import numpy as np

from hepgraph.datasets.elements import at_path
from hepgraph.errors import SchemaError, suggestion
from hepgraph.graph.canonical import TRUE, apply, both
from hepgraph.graph.form import Form, Formula, Record, Scalar, change, option, type_of, unwrap
from hepgraph.graph.node import Node, literal
from hepgraph.graph.ops import OPS
from hepgraph.lazy.coordinates import coordinates

P = TypeVar("P")
_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder", ast.Pow: "power", ast.BitAnd: "bitwise_and", ast.BitOr: "bitwise_or",
    ast.BitXor: "bitwise_xor", ast.LShift: "left_shift", ast.RShift: "right_shift", ast.Eq: "equal",
    ast.NotEq: "not_equal", ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal",
}  # fmt: skip
_UNARY: dict[type[ast.AST], str] = {ast.USub: "negative", ast.Invert: "invert"}
_SHORT = {"abs": "absolute"}
_CONSTANTS = {"pi": np.pi}


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError) as error:
        raise SchemaError(f"{text!r} is not an expression: {getattr(error, 'msg', error)}") from None


def paths_of(text: str) -> frozenset[str]:
    """The fields that an expression names, by their paths; raises SchemaError if it is none.

    >>> sorted(paths_of("sqrt(momentum.x**2 + momentum.y**2)"))
    ['momentum.x', 'momentum.y']
    """
    found: set[str] = set()

    def visit(item: ast.expr) -> None:
        path = _path(item)
        if path is not None:
            found.update({path} - set(_CONSTANTS))
            return
        for inner in _arguments(item, text)[1]:
            visit(inner)

    for part in (_vector(text) or {"": _parsed(text)}).values():
        visit(part)
    return frozenset(found)


def _vector(text: str) -> dict[str, ast.expr] | None:
    """The coordinates of a vector, and the expression of each; None of what is no vector."""
    match _parsed(text):
        case ast.Call(ast.Name("vector"), args, keywords):
            named = [(path, arg) for arg in args if (path := _path(arg)) is not None]
            if len(named) < len(args) or any(keyword.arg is None for keyword in keywords):
                raise SchemaError(f"{text!r}: the parts of a vector are fields, or have names: vector(x=0.1 * x, y=y).")
            found = {path.rpartition(".")[2]: arg for path, arg in named}
            found |= {str(keyword.arg): keyword.value for keyword in keywords}
            made = Record(dict.fromkeys(found, Scalar(literal(0.0))), f"Momentum{len(found)}D")
            if len(coordinates(made)) != len(args) + len(keywords):
                raise SchemaError(
                    f"{text!r} is no vector: one has pt and phi, or x and y; perhaps eta, theta or z; perhaps mass or "
                    "energy; and nothing else."
                )
            return found
    return None


def _path(item: ast.expr) -> str | None:
    if isinstance(item, ast.Name):
        return item.id
    if isinstance(item, ast.Attribute):
        before = _path(item.value)
        return None if before is None else f"{before}.{item.attr}"
    return None


def _arguments(item: ast.expr, text: str) -> tuple[str | None, list[ast.expr]]:
    """The operation of a part of an expression, and the parts that it is of."""
    match item:
        case ast.Constant(int() | float()):
            return None, []
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            return _BINARY[type(op)], [left, right]
        case ast.Compare(left, [op], [right]) if type(op) in _BINARY:
            return _BINARY[type(op)], [left, right]
        case ast.UnaryOp(op, inner) if type(op) in _UNARY:
            return _UNARY[type(op)], [inner]
        case ast.Call(ast.Name(name), args, []):
            op_name = _SHORT.get(name, name)
            if op_name not in OPS:
                raise SchemaError(f"{text!r} calls {name}, which is no operation.\n{suggestion(name, sorted(OPS))}")
            return op_name, args
    raise SchemaError(f"{text!r} has a part that is not known in derived fields: {ast.unparse(item)}")


@dataclass(frozen=True)
class Expression(Formula):
    """A field by an expression over others."""

    text: str

    @cached_property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The fields that it names, each by the first part of its path."""
        return frozenset(path.partition(".")[0] for path in paths_of(self.text))

    def form(self, record: Record) -> Form:
        """The field, made of those of a record."""
        return derived(self.text, lambda path: at_path(record, path))

    def values(self, records: Any) -> Any:
        """The field, made of those of an array of records, as an array."""
        return computed(self.text, lambda path: reduce(getitem, path.split("."), records))


def _dtype_in(array: Any) -> np.dtype[Any] | None:
    """The type of the numbers in an array; None if there is something else."""
    layout = ak.to_layout(array)
    while layout.is_list or layout.is_option or layout.is_indexed:
        layout = layout.content
    return layout.dtype if layout.is_numpy else None


@dataclass(frozen=True)
class Bit(Formula):
    """One bit of a field of integers."""

    field: str
    bit: int
    title: str

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The field with the integers."""
        return frozenset([self.field])

    def _check(self, dtype: np.dtype[Any] | None) -> None:
        if dtype is None or dtype.kind not in "iu":
            raise SchemaError(f"{self.title}.{self.field} has no bits: it holds no integers")
        if self.bit >= 8 * dtype.itemsize:
            raise SchemaError(f"{self.title}.{self.field} has no bit {self.bit}: it is of {dtype}")

    def form(self, record: Record) -> Form:
        """The field, made of those of a record."""

        def leaf(form: Form) -> Form:
            self._check(form.node.dtype if isinstance(form, Scalar) else None)
            assert isinstance(form, Scalar)
            one = np.array(1).astype(form.node.dtype)[()]
            bits = apply("bitwise_and", [form.node, literal(one << self.bit)])
            return Scalar(apply("not_equal", [bits, literal(0)]))

        return change(record[self.field], leaf)

    def values(self, records: Any) -> Any:
        """The field, made of those of an array of records, as an array."""
        array = records[self.field]
        dtype = _dtype_in(array)
        self._check(dtype)
        return np.not_equal(np.bitwise_and(array, np.array(1).astype(dtype)[()] << self.bit), 0)


def derived(text: str, field: Callable[[str], Form]) -> Form:
    """The form of an expression over the fields of a collection, of which `field` gives each by its path."""
    parts = _vector(text)
    if parts is not None:
        made = {name: _computed(part, text, field) for name, part in parts.items()}
        return Record(made, f"{'Vector' if 'x' in made else 'Momentum'}{len(made)}D")
    return _computed(_parsed(text), text, field)


def _walked(
    item: ast.expr,
    text: str,
    field: Callable[[str], P],
    constant: Callable[[Any], P],
    applied: Callable[[str, list[P]], P],
) -> P:
    """The value of an expression, from below: of fields by their paths, of constants, and of operations."""
    path = _path(item)
    if path in _CONSTANTS:
        return constant(_CONSTANTS[path])
    if path is not None:
        return field(path)
    op, args = _arguments(item, text)
    if op is None:
        assert isinstance(item, ast.Constant)
        return constant(item.value)
    return applied(op, [_walked(each, text, field, constant, applied) for each in args])


def _computed(parsed: ast.expr, text: str, field: Callable[[str], Form]) -> Form:
    path = _path(parsed)
    if path is not None and path not in _CONSTANTS:
        return field(path)

    def number(path: str) -> tuple[Node, Node]:
        valid, form = unwrap(field(path))
        if not isinstance(form, Scalar):
            raise SchemaError(f"{text!r} computes with {path}, which is not one number: it holds {type_of(form)}")
        return valid, form.node

    def applied(op: str, pairs: list[tuple[Node, Node]]) -> tuple[Node, Node]:
        valid = TRUE
        for each, _ in pairs:
            valid = both(valid, each)
        return valid, apply(op, [x for _, x in pairs])

    valid, found = _walked(parsed, text, number, lambda value: (TRUE, literal(value)), applied)
    return option(valid, Scalar(found))


# of arrays in memory


def computed(text: str, field: Callable[[str], Any]) -> Any:
    """The array of an expression over the fields of records in memory, of which `field` gives each by its path."""
    parts = _vector(text)
    if parts is None:
        return _values(_parsed(text), text, field)
    made = {name: ak.to_layout(_values(part, text, field)) for name, part in parts.items()}
    name = f"{'Vector' if 'x' in made else 'Momentum'}{len(made)}D"
    return ak.Array(ak.contents.RecordArray([*made.values()], [*made], parameters={"__record__": name}))


def _values(parsed: ast.expr, text: str, field: Callable[[str], Any]) -> Any:
    path = _path(parsed)
    if path is not None and path not in _CONSTANTS:
        return field(path)

    # of each part, where it is not None, and its values; the first is True if it is nowhere
    def applied(op: str, pairs: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        with np.errstate(all="ignore"):
            found = OPS[op].meaning(*(x for _, x in pairs))
        plain = all(np.ndim(x) == 0 for _, x in pairs)  # literals have a dtype once they are computed with
        return reduce(and_, (valid for valid, _ in pairs)), np.asarray(found)[()] if plain else found

    def number(path: str) -> tuple[Any, Any]:
        return _numbers(field(path), path, text)

    valid, found = _walked(parsed, text, number, lambda value: (True, value), applied)
    content = ak.contents.NumpyArray(np.asarray(found))
    if valid is True:
        return ak.Array(content)
    return ak.Array(ak.contents.ByteMaskedArray.simplified(ak.index.Index8(valid.astype(np.int8)), content, True))


def _numbers(array: Any, path: str, text: str) -> tuple[Any, Any]:
    layout = ak.to_layout(array)
    layout = layout.project() if layout.is_indexed and not layout.is_option else layout
    inner = layout.content if layout.is_option else layout
    if not inner.is_numpy or inner.purelist_depth > 1:
        raise SchemaError(f"{text!r} computes with {path}, which is not one number: it holds {array.type.content}")
    if not layout.is_option:
        return True, ak.to_numpy(layout)
    index = np.asarray(layout.to_IndexedOptionArray64().index)
    values = ak.to_numpy(layout.to_IndexedOptionArray64().content)
    return index >= 0, values[np.maximum(index, 0)] if len(values) else np.zeros(len(index), values.dtype)
