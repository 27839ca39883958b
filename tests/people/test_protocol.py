"""Protocols: the built-in ones, and those of files with what is wrong in them."""

from pathlib import Path

import pytest

from response_tuning.people.protocol import PROTOCOLS, read_protocol
from response_tuning.support.errors import UserError

OWN = """
name: brief
instructions: Say whether it is brief.
levels:
  - {name: Brief, criterion: Under ten words., acceptable: true}
  - {name: Long, criterion: Longer., acceptable: false}
"""


def test_built_in_protocols_are_those_of_the_papers() -> None:
    an_kim, tulu = PROTOCOLS["an-kim"], PROTOCOLS["tulu"]
    assert [level.acceptable for level in an_kim.levels] == [True, True, False]
    assert [choice.left for choice in an_kim.preference] == [1, 0.5, 0]
    assert [level.acceptable for level in tulu.levels] == [True, False]
    assert [choice.left for choice in tulu.preference] == [1, 1, 0.5, 0, 0]


def test_the_known_answers_of_samples_are_recognised() -> None:
    first = PROTOCOLS["an-kim"].training[0]
    assert first.is_answered((True, False), 1)
    assert not first.is_answered((True, False), 0.5)
    assert not first.is_answered((True, True), 1)
    either = PROTOCOLS["an-kim"].training[2]
    assert either.is_answered((True, True), 0) and either.is_answered((True, True), 0.5)


def test_a_file_is_a_protocol(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    assert read_protocol(str(path)).levels[1].name == "Long"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("acceptable: false", "acceptable: true"), "needs a level that is acceptable and one that is not"),
        (OWN.replace("Long,", "Brief,"), "have the same name"),
        (OWN + "colour: blue\n", "there is no field 'colour'"),
        (OWN.replace("name: brief\n", ""), "field 'name' is missing"),
        (OWN.replace("acceptable: false", "acceptable: perhaps"), "field 'levels.1.acceptable'"),
        (OWN + "name: twice\n", "option 'name' is set in line"),
        (OWN + "preference: [{name: Left, left: 1}]\n", "one for the right"),
        ("[1, 2", "is not valid YAML"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)) as caught:
        read_protocol(str(path))
    assert message in str(caught.value)


def test_a_name_that_is_no_protocol_lists_those_that_are() -> None:
    with pytest.raises(UserError, match="Choose an-kim, tulu, or name a YAML file"):
        read_protocol("ankim")
