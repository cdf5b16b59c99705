"""Functions of integers and memory, written in a small part of Python, as text for LLVM.

All values are integers of 64 bits, addresses among them. `base.i32[k]` is the k-th integer of 32 bits from an address
on: `i8` to `i64` with a sign, `u8` to `u32` without, both of which may be assigned to; `big16` to `big64`, with the
highest byte first, are read only. `row.name` is a number of a table by its name. There are `if`, `while`, `for k in
range(...)`, conditional expressions, calls of the functions before, `copy(to, start, size)`, and `invoke("i32 i64 i32",
address, x, y)`, a call of a C function by its address, with the kinds of its result and of its arguments. `//` and `%`
are those of C, `>>` moves zeros in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_OPERATIONS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "sdiv", ast.Mod: "srem", ast.BitAnd: "and",
    ast.BitOr: "or", ast.BitXor: "xor", ast.LShift: "shl", ast.RShift: "lshr",
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "slt", ast.LtE: "sle", ast.Gt: "sgt", ast.GtE: "sge",
}  # fmt: skip
_STORED = re.compile(r"(i|u|big)(8|16|32|64)")
_DECLARED = (
    *(f"declare i{bits} @llvm.bswap.i{bits}(i{bits})" for bits in (16, 32, 64)),
    "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
)


def assembly(
    source: str, numbers: Mapping[str, int] | None = None, tables: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The text of the functions of a source; the last one is seen from outside, under its name.

    `numbers` are constants by their names, `tables` the names of the numbers in each table.

    >>> "mul i64" in assembly("def twice(x): return 2 * x")
    True
    """
    functions = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    texts = [_Text(numbers or {}, tables or {}).function(each, each is functions[-1]) for each in functions]
    return "\n".join([*_DECLARED, *texts, ""])


@dataclass
class _Text:
    """The text of one function under way: its lines, and its variables, which have places on the stack."""

    numbers: Mapping[str, int]
    tables: Mapping[str, Sequence[str]]
    lines: list[str] = field(default_factory=list)
    variables: dict[str, None] = field(default_factory=dict)
    count: int = 0

    def function(self, tree: ast.FunctionDef, seen: bool) -> str:
        """The whole text."""
        names = [each.arg for each in tree.args.args]
        for name in names:
            self._assign(name, f"%{name}")
        self._block(tree.body)
        if not self._ended():
            self._line("ret i64 0")
        head = f"define {'' if seen else 'internal '}i64 @{tree.name}({', '.join(f'i64 %{name}' for name in names)}) {{"
        places = [f"  %{name}.at = alloca i64" for name in self.variables]
        return "\n".join([head, "entry:", *places, *self.lines, "}"])

    def _line(self, text: str) -> None:
        self.lines.append(text if text.endswith(":") else f"  {text}")

    def _new(self, text: str) -> str:
        """The value of an instruction."""
        self.count += 1
        self._line(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def _ended(self) -> bool:
        return bool(self.lines) and self.lines[-1].lstrip().startswith(("br ", "ret "))

    def _labels(self, *names: str) -> list[str]:
        self.count += 1
        return [f"{name}{self.count}" for name in names]

    def _begin(self, label: str) -> None:
        """Goes on in another block of instructions."""
        if not self._ended():
            self._line(f"br label %{label}")
        self._line(f"{label}:")

    def _assign(self, name: str, value: str) -> None:
        self.variables[name] = None
        self._line(f"store i64 {value}, ptr %{name}.at")

    # statements

    def _block(self, statements: Sequence[ast.stmt]) -> None:
        for each in statements:
            self._statement(each)

    def _statement(self, tree: ast.stmt) -> None:
        match tree:
            case ast.Return(ast.expr() as result):
                self._line(f"ret i64 {self._value(result)}")
            case ast.Assign([ast.Tuple(names)], ast.Tuple(values)):
                made = [self._value(each) for each in values]
                for name, value in zip(names, made, strict=True):
                    self._store(name, value)
            case ast.Assign([target], result):
                self._store(target, self._value(result))
            case ast.AugAssign(ast.Name(name), operation, operand):
                self._assign(name, self._value(ast.BinOp(ast.Name(name), operation, operand)))
            case ast.Expr(call):
                self._value(call)
            case ast.If(test, body, others):
                yes, no, after = self._labels("yes", "no", "after")
                self._branch(test, yes, no)
                self._begin(yes)
                self._block(body)
                if not self._ended():
                    self._line(f"br label %{after}")
                self._begin(no)
                self._block(others)
                self._begin(after)
            case ast.While(test, body):
                self._loop(test, body)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), [start, stop]), body):
                self._assign(name, self._value(start))
                step = ast.AugAssign(ast.Name(name), ast.Add(), ast.Constant(1))
                self._loop(ast.Compare(ast.Name(name), [ast.Lt()], [stop]), [*body, step])
            case _:
                raise SyntaxError(f"there is no way to translate {ast.unparse(tree)!r}")

    def _loop(self, test: ast.expr, body: Sequence[ast.stmt]) -> None:
        again, inside, after = self._labels("again", "inside", "after")
        self._begin(again)
        self._branch(test, inside, after)
        self._begin(inside)
        self._block(body)
        if not self._ended():
            self._line(f"br label %{again}")
        self._begin(after)

    def _store(self, target: ast.expr, value: str) -> None:
        match target:
            case ast.Name(name):
                self._assign(name, value)
            case ast.Subscript():
                bits, kind, place = self._place(target)
                if kind == "big":
                    raise SyntaxError(f"big-endian numbers are read only: {ast.unparse(target)!r}")
                self._line(f"store i{bits} {self._narrow(value, bits)}, ptr {place}, align 1")
            case _:
                raise SyntaxError(f"there is no way to assign to {ast.unparse(target)!r}")

    # expressions

    def _value(self, tree: ast.expr) -> str:
        match tree:
            case ast.Constant(int(number)):
                return str(int(number))
            case ast.Name(name) if name in self.variables:
                return self._new(f"load i64, ptr %{name}.at")
            case ast.Name(name) if name in self.numbers:
                return str(self.numbers[name])
            case ast.UnaryOp(ast.USub(), operand):
                return self._new(f"sub i64 0, {self._value(operand)}")
            case ast.BinOp(left, operation, right) if type(operation) in _OPERATIONS:
                one, two = self._value(left), self._value(right)
                return self._new(f"{_OPERATIONS[type(operation)]} i64 {one}, {two}")
            case ast.Attribute(ast.Name(table), name) if table in self.tables:
                base = self._new(f"inttoptr i64 {self._value(tree.value)} to ptr")
                place = self._new(f"getelementptr i64, ptr {base}, i64 {self.tables[table].index(name)}")
                return self._new(f"load i64, ptr {place}")
            case ast.Subscript():
                bits, kind, place = self._place(tree)
                value = self._new(f"load i{bits}, ptr {place}, align 1")
                if kind == "big":
                    value = self._new(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {value})")
                return self._wide(value, bits, kind)
            case ast.Call(ast.Name("copy"), [to, start, size]):
                pointers = [self._new(f"inttoptr i64 {self._value(each)} to ptr") for each in (to, start)]
                self._line(f"call void @llvm.memcpy.p0.p0.i64(ptr {pointers[0]}, ptr {pointers[1]}, "
                           f"i64 {self._value(size)}, i1 false)")  # fmt: skip
                return "0"
            case ast.Call(ast.Name("invoke"), [ast.Constant(str(kinds)), address, *arguments]):
                return self._invoked(kinds.split(), self._value(address), [self._value(each) for each in arguments])
            case ast.Call(ast.Name(name), arguments):
                given = ", ".join([f"i64 {self._value(each)}" for each in arguments])
                return self._new(f"call i64 @{name}({given})")
            case ast.IfExp(test, body, orelse):
                return self._chosen(test, body, orelse)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(ast.Not()):
                return self._chosen(tree, ast.Constant(1), ast.Constant(0))
        raise SyntaxError(f"there is no way to translate {ast.unparse(tree)!r}")

    def _place(self, tree: ast.Subscript) -> tuple[int, str, str]:
        """The bits, the kind and the pointer of a number in memory."""
        match tree.value:
            case ast.Attribute(base, name) if found := _STORED.fullmatch(name):
                start = self._new(f"inttoptr i64 {self._value(base)} to ptr")
                index = self._value(tree.slice)
                return int(found[2]), found[1], self._new(f"getelementptr i{found[2]}, ptr {start}, i64 {index}")
        raise SyntaxError(f"there are no numbers {ast.unparse(tree)!r}")

    def _narrow(self, value: str, bits: int) -> str:
        return value if bits == 64 else self._new(f"trunc i64 {value} to i{bits}")

    def _wide(self, value: str, bits: int, kind: str) -> str:
        return value if bits == 64 else self._new(f"{'zext' if kind == 'u' else 'sext'} i{bits} {value} to i64")

    def _invoked(self, kinds: Sequence[str], address: str, arguments: Sequence[str]) -> str:
        result, *others = [int(kind[1:]) for kind in kinds]
        given = [f"i{bits} {self._narrow(each, bits)}" for bits, each in zip(others, arguments, strict=True)]
        function = self._new(f"inttoptr i64 {address} to ptr")
        return self._wide(self._new(f"call i{result} {function}({', '.join(given)})"), result, "i")

    def _chosen(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> str:
        yes, no, after, name = self._labels("yes", "no", "after", "chosen")
        self._branch(test, yes, no)
        self._begin(yes)
        self._assign(name, self._value(body))
        self._line(f"br label %{after}")
        self._begin(no)
        self._assign(name, self._value(orelse))
        self._begin(after)
        return self._new(f"load i64, ptr %{name}.at")

    def _branch(self, test: ast.expr, yes: str, no: str) -> None:
        """Goes to one of two blocks."""
        match test:
            case ast.UnaryOp(ast.Not(), operand):
                self._branch(operand, no, yes)
            case ast.BoolOp(ast.And() | ast.Or() as joined, [*parts, last]):
                for part in parts:
                    (rest,) = self._labels("rest")
                    self._branch(part, *((rest, no) if isinstance(joined, ast.And) else (yes, rest)))
                    self._begin(rest)
                self._branch(last, yes, no)
            case ast.Compare(left, operations, rights):
                one = self._value(left)
                for operation, right in zip(operations, rights, strict=True):
                    two = self._value(right)
                    (rest,) = self._labels("rest")
                    fits = self._new(f"icmp {_OPERATIONS[type(operation)]} i64 {one}, {two}")
                    self._line(f"br i1 {fits}, label %{rest}, label %{no}")
                    self._begin(rest)
                    one = two
                self._line(f"br label %{yes}")
            case _:
                fits = self._new(f"icmp ne i64 {self._value(test)}, 0")
                self._line(f"br i1 {fits}, label %{yes}, label %{no}")
