"""Which room may import which, and which other packages: read from the syntax trees.

`python tests/test_layers.py --map` prints the rooms with their sentences, floor by floor.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST = {"": (22, 90, 13), "io": (15, 45, 6)}  # rooms, arrows between them, and floors: of all, and of io

ANYWHERE = {"awkward", "numpy"}
FENCES = {
    "pyarrow": {"io/parquet/"},
    "uproot": {"io/"},
    "fsspec": {"io/"},
    "aiohttp": {"io/access/remote.py"},
    "XRootD": {"io/access/remote.py"},
    "cramjam": {"io/native/codecs.py"},
    "xxhash": {"io/", "functions/"},
    "zstandard": {"io/native/codecs.py"},
    "deflate": {"io/native/codecs.py"},
    "imagecodecs": {"io/native/codecs.py"},
    "dask": {"executors/dask.py", "runner/dask_collections.py", "lazy/collection.py"},
    "distributed": {"executors/"},
    "llvmlite": {"jit/", "kernel/"},
    "numba": {"kernel/", "functions/"},
    "matplotlib": {"hist/plot.py"},
    "mplhep": set(),
    "IPython": {"runner/progress.py", "hist/plot.py"},
    "rich": {"runner/progress.py", "__main__.py"},
    "vector": {"lazy/behavior.py"},
    "yaml": {"datasets/fileset.py"},
    "cloudpickle": {"functions/", "io/mapped.py", "executors/shipped.py"},
    "hist": {"hist/", "disk/", "kit/cutflow.py"},
    "pandas": {"runner/dask_collections.py", "runner/report.py", "kit/table.py"},
    "boost_histogram": {"disk/", "hist/", "processor/", "kernel/"},
}
LONGEST = 600


@cache
def modules():
    """Every module by its dotted name below hepgraph."""
    files = sorted((ROOT / "hepgraph").rglob("*.py"))
    return {_name(path): path for path in files}


def _name(path):
    parts = path.relative_to(ROOT / "hepgraph").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def imports(path):
    """What a file imports: dotted names, each with whether that is at module level."""
    tree = ast.parse(path.read_text())
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types_only(node)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                found |= {(name.name, id(node) not in later) for name in names}
            case ast.ImportFrom(module, names, level):
                assert level == 0, f"{path}: relative import"
                found |= {(_target(module, name.name), id(node) not in later) for name in names}
    return frozenset(found)


def _for_types_only(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _target(module, name):
    """The module that `from module import name` means: a module of a package, or the module itself."""
    inside = f"{module}.{name}".removeprefix("hepgraph.")
    return f"hepgraph.{inside}" if module.startswith("hepgraph") and inside in modules() else module


def own(path, top_only=False):
    """The modules of hepgraph that a file imports."""
    return {
        name.removeprefix("hepgraph").lstrip(".") or "__init__"
        for name, top in imports(path)
        if name.partition(".")[0] == "hepgraph" and (top or not top_only)
    }


def room(module, inside=""):
    """The room that a module is in: a folder of hepgraph (or of one of its folders), or a module beside them."""
    parts = module.removeprefix(f"{inside}.").split(".")
    return parts[0]


@cache
def arrows(inside=""):
    """Which rooms import which, of all or of a folder; the door and the command line, which import all, left aside."""
    found = defaultdict(set)
    for name, path in modules().items():
        if name in ("__init__", "__main__", inside) or not name.startswith(f"{inside}." if inside else ""):
            continue
        for other in own(path):
            if other != "__init__" and (not inside or other.startswith(f"{inside}.")):
                a, b = room(name, inside), room(other, inside)
                if a != b:
                    found[a, b].add(f"{name} imports {other}")
    return dict(found)


def rooms(inside=""):
    """All rooms, of hepgraph or of one of its folders."""
    prefix = f"{inside}." if inside else ""
    return sorted(
        {room(name, inside) for name in modules() if name.startswith(prefix) and name not in (inside, "__init__")}
        - {"__main__"}
    )


def floors(inside=""):
    """The rooms by floor: each stands on those that it imports; raises for a circle."""
    below = defaultdict(set)
    for a, b in arrows(inside):
        below[a].add(b)
    height = {}

    def floor(name, trail=()):
        assert name not in trail, "a circle: " + " -> ".join([*trail[trail.index(name) :], name])
        if name not in height:
            height[name] = 1 + max((floor(other, (*trail, name)) for other in below[name]), default=0)
        return height[name]

    found = defaultdict(list)
    for name in rooms(inside):
        found[floor(name)].append(name)
    return [found[i] for i in sorted(found)]


def sentence(name):
    """The first sentence of a room's docstring."""
    path = modules().get(name) or ROOT / "hepgraph" / name / "__init__.py"
    return re.split(r"(?<=[.])\s|\n\n", ast.get_docstring(ast.parse(path.read_text())), maxsplit=1)[0].rstrip(".")


def plan(inside=""):
    """The rooms with their sentences, floor by floor, from the ground up."""
    prefix = f"{inside}." if inside else ""
    counts = f"{len(rooms(inside))} rooms, {len(arrows(inside))} arrows, {len(floors(inside))} floors"
    lines = [f"{inside or 'hepgraph'}: {counts}"]
    for number, names in enumerate(floors(inside), start=1):
        lines += [f"  {number:2d}  {name:13s} {sentence(prefix + name)}" for name in names]
    return "\n".join(lines)


@pytest.mark.parametrize("inside", sorted(MOST))
def test_the_house_is_small_and_imports_go_one_way(inside):
    """No room imports from one that stands on it: `floors` raises for a circle."""
    most_rooms, most_arrows, most_floors = MOST[inside]
    assert len(rooms(inside)) <= most_rooms, plan(inside)
    assert len(arrows(inside)) <= most_arrows, plan(inside)
    assert len(floors(inside)) <= most_floors, plan(inside)


def test_the_map_is_complete():
    """The docstring of hepgraph lists each room once, from the ground up, with the sentence of its own docstring."""
    text = ast.get_docstring(ast.parse((ROOT / "hepgraph" / "__init__.py").read_text()))
    told = dict(re.findall(r"^    (\w+) {2,}(.+)$", text, re.MULTILINE))
    assert list(told) == [name for names in floors() for name in names]
    assert told == {name: sentence(name) for name in told}


def test_each_public_class_has_a_name_of_its_own():
    found = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    assert not {name: places for name, places in found.items() if len(places) > 1}


def test_no_cycles_of_imports_at_module_level():
    graph = {name: own(path, top_only=True) for name, path in modules().items()}
    state = {}

    def walk(name, trail):
        if state.get(name) == "done":
            return
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        for other in sorted(graph.get(name, ())):
            walk(other, [*trail, name])
        state[name] = "done"

    for name in graph:
        walk(name, [])


def test_other_packages_stay_behind_their_fences():
    faults = []
    for path in modules().values():
        place = path.relative_to(ROOT / "hepgraph").as_posix()
        for name in {name.partition(".")[0] for name, _ in imports(path)} - {"hepgraph"}:
            if name in sys.stdlib_module_names or name in ANYWHERE:
                continue
            if not any(
                place == fence or (fence.endswith("/") and place.startswith(fence)) for fence in FENCES.get(name, ())
            ):
                faults.append(f"{place} imports {name}")
    assert not faults, "\n".join(sorted(faults))


def test_optional_packages_are_imported_when_needed():
    for path in modules().values():
        early = {name.partition(".")[0] for name, top in imports(path) if top}
        allowed = {"plot.py": {"matplotlib"}, "dask_cleanup.py": {"distributed"}}.get(
            path.name, set()
        )  # when they are used
        assert not early & ({"yaml", "dask", "distributed", "pandas", "IPython", "matplotlib", "mplhep"} - allowed), (
            path
        )


def test_processors_use_the_public_face():
    for path in (ROOT / "processors").glob("*.py"):
        assert own(path) <= {"__init__"}, path
        others = {name.partition(".")[0] for name, _ in imports(path)} - sys.stdlib_module_names
        assert others <= {"hepgraph", *ANYWHERE}, path


def test_files_are_short_enough():
    lengths = {path: len(path.read_text().splitlines()) for path in modules().values()}
    long = [f"{path.relative_to(ROOT)}: {length} lines" for path, length in lengths.items() if length > LONGEST]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_says_what_it_is(name):
    assert ast.get_docstring(ast.parse(modules()[name].read_text()))


def test_the_public_surface_is_exact():
    tree = ast.parse((ROOT / "hepgraph" / "__init__.py").read_text())
    bound = set()
    blocks = [each for each in tree.body if _for_types_only(each) or isinstance(each, ast.With)]
    for node in [*tree.body, *(inner for block in blocks for inner in block.body)]:
        match node:
            case ast.ImportFrom("typing"):
                pass
            case ast.Import(names) | ast.ImportFrom(_, names, _):
                bound |= {name.asname or name.name.partition(".")[0] for name in names}
            case ast.FunctionDef(name) | ast.ClassDef(name):
                bound.add(name)
    import hepgraph

    if not hasattr(hepgraph, "__all__"):
        pytest.skip("no __all__ yet")
    public = {name for name in bound if not name.startswith("_") and name != "annotations"}
    assert set(hepgraph.__all__) - {"__version__"} == public
    assert len(set(hepgraph.__all__)) == len(hepgraph.__all__)
    assert all(hasattr(hepgraph, name) for name in hepgraph.__all__)


def test_importing_has_no_heavy_effects():
    """Readers and plots are imported when they are used; no thread is started."""
    code = (
        "import sys, threading, hepgraph\n"
        "heavy = {'hist', 'uproot', 'matplotlib', 'mplhep', 'dask', 'distributed', 'llvmlite', 'numba', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), threading.active_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 1", done.stdout


if __name__ == "__main__" and "--map" in sys.argv:
    print(plan(), plan("io"), sep="\n\n")
