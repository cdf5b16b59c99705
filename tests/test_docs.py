"""Docstrings of public functions, classes and methods: each parameter is told, and none that is not there."""

import inspect
import re

import pytest

import hepgraph as hg

MADE_BY_RUNS = {"Handle", "Lazy", "Report"}  # nobody calls their constructors
MODULES = {"hg": hg, "hg.executors": hg.executors}


def public():
    """Each public function, class and method of ours by its name."""
    for module, of in MODULES.items():
        for name in of.__all__:
            found = getattr(of, name)
            if inspect.isfunction(found):
                yield f"{module}.{name}", found
            elif inspect.isclass(found):
                if not inspect.isabstract(found) and name not in MADE_BY_RUNS and ours(found, "__init__"):
                    yield f"{module}.{name}", found
                for method in dir(found) if module == "hg" else ():
                    if not method.startswith("_") and ours(found, method):
                        yield f"{module}.{name}.{method}", getattr(found, method)


def ours(kind, name):
    """Whether a class has a function of this name that is written here, and not in a library."""
    found = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    function = (
        inspect.unwrap(getattr(found, "__func__", found)) if callable(found) or hasattr(found, "__func__") else None
    )
    return inspect.isfunction(function) and function.__module__.startswith("hepgraph")


def parameters(function):
    """The names of the parameters that a caller gives, with their stars."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = [(stars.get(each.kind, "") + each.name) for each in inspect.signature(function).parameters.values()]
    return [name for name in found if name != "self" and not name.startswith("_")]


def told(function):
    """The names in the section "Parameters" of a docstring, as numpydoc has it."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Parameters\n-{10}\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", text, re.MULTILINE | re.DOTALL)
    return [] if section is None else re.findall(r"^(\*{0,2}\w+) : \S", section[1], re.MULTILINE)


PUBLIC = dict(public())


def test_there_are_public_functions_and_methods():
    assert {"hg.run", "hg.Hist.fill", "hg.Runner", "hg.executors.Dask", "hg.Lazy.head", "hg.Report.load"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_parameter_is_told(name):
    assert told(PUBLIC[name]) == parameters(PUBLIC[name])


@pytest.mark.parametrize("name", PUBLIC)
def test_the_first_line_is_a_sentence(name):
    first, *rest = (inspect.getdoc(PUBLIC[name]) or "").split("\n")
    assert first.endswith(".")
    assert not first.startswith("What ")
    assert not rest or not rest[0]
