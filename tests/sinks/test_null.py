"""The null sink asks for what it is told to ask for."""

from __future__ import annotations

import pytest

from rtseg.errors import ConfigError
from tests.sinks.results import open_to, result


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({}, {"overlay"}),
        ({"needs": "labels, areas"}, {"labels", "areas"}),
        ({"needs": "none"}, set()),
        ({"needs": ""}, set()),
    ],
)
def test_needs(options: dict[str, str], needs: set[str]) -> None:
    sink = open_to("null:", **options)
    assert sink.needs == needs
    assert not sink.threaded


def test_it_counts() -> None:
    with open_to("null:") as sink:
        sink.write(result(0))
        sink.write(result(1))
        assert getattr(sink, "written", None) == 2


def test_an_unknown_need_and_a_name() -> None:
    with pytest.raises(ConfigError, match="cannot need 'overlays': did you mean 'overlay'"):
        open_to("null:", needs="overlays")
    with pytest.raises(ConfigError, match="takes no name, found 'x'"):
        open_to("null:x")
