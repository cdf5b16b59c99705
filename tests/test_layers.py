"""Which module may import which, and which other packages: read from the syntax trees."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up: a module, or a folder of modules, imports only from those above it in this list.
LAYERS = [
    "packages", "lookups", "byvalue", "later", "offsets", "errors", "disk", "objects", "machine", "fingerprints",
    "snapshot", "spoken", "ops", "graph", "consistency", "interpret", "io", "load", "kernel", "lazy", "weaver",
    "schemafile", "grouping", "schema", "events", "cuts", "late",
    "content", "dependencies", "provenance", "ledger", "progress", "executors", "attempt", "plan", "gather",
    "checkpoint", "course",
    "compute", "merge", "hist", "interop", "accumulate", "additive", "fresh", "chunk", "crossrefs", "eager", "fileset",
    "opening", "survey", "estimate", "explain", "tracing",
    "processor", "background", "plot", "__init__", "processors", "__main__",
]  # fmt: skip

ANYWHERE = {"awkward", "numpy"}
FENCES = {
    "pyarrow": {"io/parquet.py", "io/arrow.py", "io/tables.py"},
    "uproot": {"io/"},
    "fsspec": {"io/"},
    "aiohttp": {"io/remote.py"},
    "XRootD": {"io/remote.py"},
    "cramjam": {"io/"},
    "xxhash": {"io/", "fingerprints.py"},
    "zstandard": {"io/codecs.py"},
    "deflate": {"io/codecs.py"},
    "imagecodecs": {"io/codecs.py"},
    "dask": {"executors/dask.py", "interop.py", "lazy/collection.py"},
    "distributed": {"executors/dask.py", "executors/guard.py", "executors/folding.py", "executors/held.py"},
    "llvmlite": {"machine.py", "kernel/"},
    "numba": {"kernel/"},
    "matplotlib": {"plot.py"},
    "mplhep": set(),
    "IPython": {"progress.py", "plot.py"},
    "rich": {"progress.py", "__main__.py"},
    "vector": {"weaver.py"},
    "yaml": {"fileset.py"},
    "cloudpickle": {"byvalue.py", "io/mapped.py", "executors/shipped.py"},
    "hist": {"hist.py", "merge.py", "disk/"},
    "pandas": {"interop.py"},
    "boost_histogram": {
        "disk/",
        "hist.py",
        "merge.py",
        "accumulate.py",
        "additive.py",
        "chunk.py",
        "eager.py",
        "fresh.py",
        "kernel/",
    },
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


def layer(module):
    return module.partition(".")[0]


def test_every_module_has_its_layer():
    assert {layer(name) for name in modules()} <= set(LAYERS)
    assert len(set(LAYERS)) == len(LAYERS)


def test_modules_import_only_from_below():
    faults = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in own(path)
        if layer(other) != layer(name) and LAYERS.index(layer(other)) > LAYERS.index(layer(name))
    ]
    assert not faults, "\n".join(faults)


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
        allowed = {"plot.py": {"matplotlib"}, "guard.py": {"distributed"}}.get(path.name, set())  # when they are used
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
