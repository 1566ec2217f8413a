import argparse

import pytest

from tools import replicas


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    replicas.add_arguments(parser.add_argument_group())
    return parser.parse_args(words)


def test_a_pair_is_two_numbers_with_a_colon_between_them() -> None:
    found = parsed("--ray", "--replicas", "2:2", "--scale", "30:5", "--gpus", ".25")
    assert (found.ray, found.replicas, found.scale, found.gpus) == ("", (2, 2), (30, 5), 0.25)
    assert parsed("--ray", "auto").ray == "auto"


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--replicas", "4", "colon"),
        ("--replicas", "4:2", "least first"),
        ("--replicas", "0:2", "from 1 on"),
        ("--scale", "0:9", "from 1 on"),
        ("--scale", "9:x", "whole numbers"),
        ("--gpus", "-1", "--gpus"),
        ("--gpus", "nan", "--gpus"),
    ],
)
def test_what_ray_would_choke_on_is_refused_before_it_is_started(
    option: str, value: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(f"{option}={value}")
    assert caught.value.code == 2
    assert word in capsys.readouterr().err.splitlines()[-1]
