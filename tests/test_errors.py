import pytest

from rtseg import errors
from rtseg.errors import RtsegError, nearest


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("SourceError", OSError),
        ("SinkError", OSError),
        ("ModelError", ValueError),
        ("BackendError", RuntimeError),
        ("MissingExtra", ImportError),
    ],
)
def test_every_error_is_ours_and_the_builtin(name: str, builtin: type[Exception]) -> None:
    error = getattr(errors, name)
    assert issubclass(error, RtsegError)
    assert issubclass(error, builtin)
    assert str(error("one line")) == "one line"


def test_stop_is_not_an_error() -> None:
    assert not issubclass(errors.StopRun, RtsegError)


def test_nearest_leads_with_the_likeliest_in_any_case() -> None:
    assert nearest("Carr", ["Road", "car", "Sky"]) == "did you mean 'car'? (choices: Road, car, Sky)"
    assert nearest("roda", ["Road", "car"]) == "did you mean 'Road'? (choices: Road, car)"


def test_nearest_without_a_likely_one() -> None:
    assert nearest("zzz", ["Road", "car"]) == "(choices: Road, car)"
    assert nearest("zzz", []) == "(choices: )"
    assert nearest("zzz", iter(["a"])) == "(choices: a)"
