"""Code that travels by value says in other processes where it comes from: scripts, modules, cells of a notebook."""

from __future__ import annotations

import linecache
import pickle
import subprocess
import sys
import textwrap
import traceback
from types import CodeType

import cloudpickle
import pytest

from hepgraph.functions import pickling

CELL = """\
def outer(scale):
    def inner(x):
        return [
            y / scale  # the line of the user
            for y in x
        ]

    return inner

class Held:
    def run(self, x):
        return (lambda y: y / 0)(x)  # another one
"""


@pytest.fixture
def cell():
    """A cell of a notebook: its text is in linecache alone."""
    file, space = "/tmp/ipykernel_1/1234.py", {"__name__": "__main__"}
    linecache.cache[file] = (len(CELL), None, CELL.splitlines(keepends=True), file)
    exec(compile(CELL, file, "exec"), space)
    yield space
    linecache.cache.pop(file, None)


def seen_elsewhere(thing, call):
    """The traceback of a call in a process that has nothing but the pickle."""
    code = f"import pickle, sys, traceback\nf = pickle.load(sys.stdin.buffer)\ntry:\n    {call}\n"
    code += "except ZeroDivisionError:\n    print(traceback.format_exc())\n"
    done = subprocess.run([sys.executable, "-c", code], input=pickling.dumps(thing), capture_output=True, check=True)
    return done.stdout.decode()


def test_a_cell_of_a_notebook(cell):
    text = seen_elsewhere(cell["outer"](0), "f([1])")
    assert 'File "/tmp/ipykernel_1/1234.py", line 4, in' in text
    assert "y / scale  # the line of the user" in text
    text = seen_elsewhere(cell["Held"](), "f.run(1)")
    assert 'File "/tmp/ipykernel_1/1234.py", line 12, in run' in text
    assert text.count("return (lambda y: y / 0)(x)  # another one") == 2


@pytest.mark.parametrize("name", ["<dynamic-code>", None])
def test_whatever_cloudpickle_makes_of_file_names(cell, monkeypatch, name):
    """Its versions before 3.1.3 keep them, later ones do not."""
    make = cloudpickle.Pickler.dispatch_table[CodeType]

    def reduced(code):
        kind, args = make(code)
        kept = args.index(code.co_filename) if code.co_filename in args else args.index("<dynamic-code>")
        return kind, (*args[:kept], name or code.co_filename, *args[kept + 1 :])

    monkeypatch.setitem(pickling.Pickler.dispatch_table, CodeType, reduced)
    assert "y / scale  # the line of the user" in seen_elsewhere(cell["outer"](0), "f([1])")


def test_lines_of_a_file_that_is_here_stay(tmp_path):
    """Unpacking in the same process leaves the rest of the file readable; of a changed file, the lines that run."""
    path = tmp_path / "mine.py"
    path.write_text(
        "A = 1\n\n\ndef first(x):\n    return x / 0  # one\n\n\ndef second(x):\n    return first(x)  # two\n"
    )
    space = {"__name__": "__main__"}
    exec(compile(path.read_text(), str(path), "exec"), space)
    body = pickling.dumps(space["second"])
    assert pickle.loads(body).__code__.co_filename == str(path)
    assert linecache.getline(str(path), 1) == "A = 1\n"
    path.write_text("# a line more\n" + path.read_text())
    linecache.checkcache()
    with pytest.raises(ZeroDivisionError) as caught:
        pickle.loads(body)(1)
    text = "".join(traceback.format_exception(caught.value))
    assert "return first(x)  # two" in text
    assert "return x / 0  # one" in text


def test_each_line_is_written_once(cell):
    many = [cell["outer"](i) for i in range(50)]
    assert pickling.dumps(many).count(b"# the line of the user") == 1


WITH_LOCKS = """\
import dataclasses, functools

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

@functools.singledispatch
def size(x):
    return 1

@size.register
def _(x: list):
    return 10 * sum(map(size, x))

@dataclasses.dataclass
class Settings:
    scale: float = 2.0
    rows: list = dataclasses.field(default_factory=list)

    @functools.cached_property
    def twice(self):
        return 2 * self.scale

def all_of_it(settings):
    changed = dataclasses.replace(settings, scale=5.0)
    return [fibonacci(10), size([1, [2]]), size({}), settings.twice, changed.twice, Settings().rows,
            [each.name for each in dataclasses.fields(settings)]]

def call():
    return all_of_it(Settings(3.0))
"""


def test_what_holds_locks_and_marks(cell):
    """`functools.cache`, `cached_property` and `singledispatch` of the user's own, and dataclasses."""
    space = {"__name__": "__main__"}
    exec(WITH_LOCKS, space)
    expected = [55, 110, 1, 6.0, 10.0, [], ["scale", "rows"]]
    assert space["call"]() == expected
    assert seen_elsewhere(space["call"], "print(f())") == f"{expected}\n"
    assert pickle.loads(pickling.dumps(space["call"]))() == expected


SCRIPT = """\
import sys, hepgraph as hg, awkward as ak, numpy as np, traceback, beside

def here(x):
    return ak.Array([1 // int(i - i) for i in x])  # the line in the script

for f in (here, beside.there):
    events = hg.from_awkward(ak.Array({"x": np.arange(4.0)}), npartitions=2)
    try:
        hg.map_partitions(f, events.x, meta=ak.Array([1])).compute(executor="processes")
    except ZeroDivisionError:
        print(traceback.format_exc())
"""


def test_a_script_and_the_module_beside_it(tmp_path):
    (tmp_path / "beside.py").write_text(
        textwrap.dedent("""\
        def there(x):
            return [1 // int(i - i) for i in x]  # the line in the module
        """)
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert f'File "{tmp_path}/script.py", line 4, in here' in done.stdout
    assert "# the line in the script" in done.stdout
    assert f'File "{tmp_path}/beside.py", line 2, in there' in done.stdout
    assert "# the line in the module" in done.stdout
