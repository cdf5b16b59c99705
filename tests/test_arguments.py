"""The arguments that users look for in the wrong place; what is said of them is in `test_errors.py`."""

import inspect

import hepgraph as hg
from hepgraph.arguments import ELSEWHERE, PLACES


def test_where_arguments_are():
    """Each function that is said to have an argument has it, and no other of those that are named."""
    named = {function for functions in PLACES.values() for function in functions}
    for argument, functions in PLACES.items():
        for function in named:
            parameters = inspect.signature(getattr(hg, function.removeprefix("hg."))).parameters
            if (argument, function) not in (("cache", "hg.preprocess"), ("tree", "hg.compute")):  # other things
                assert (argument in parameters) == (function in functions), (argument, function)
    assert not set(ELSEWHERE) & set(PLACES)
    assert {said.argument for said in ELSEWHERE.values() if not isinstance(said, str)} <= {*PLACES}
