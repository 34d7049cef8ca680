import inspect
import pickle

import pytest

from pipeline import errors

KINDS = errors.PipelineError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling_and_say_their_facts(kind: type[errors.PipelineError]) -> None:
    facts = [f"fact{i}" for i in range(len(inspect.signature(kind).parameters))]
    error = kind(*facts)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.args, str(copy)) == (error.args, str(error))
    assert all(fact in str(error) for fact in facts)


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in KINDS)
