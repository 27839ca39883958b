"""The file of rules: documented, read back as written, and wrong values named with line and field."""

from pathlib import Path

import pytest

from response_tuning.runs.rules.rule_file import (
    PUBLISHED,
    DiversityRule,
    EosRule,
    PiecesRule,
    Rules,
    read_rules,
    rules_text,
    select_rules,
    write_rules,
)
from response_tuning.support.errors import UserError

ADDED: Rules = {
    **PUBLISHED,
    "start": PiecesRule(first_tokens=1, weights={' "quoted"\t': -2.5, "\N{SNOWMAN}: # no": 1.0}),
    "nothing": PiecesRule(),
    "late": EosRule(weight=3.5, tokens=40, afterwards=0.0),
    "once-more": DiversityRule(weight=0.25, since="response"),
}


@pytest.mark.parametrize("rules", [PUBLISHED, ADDED])
def test_rules_are_read_back_as_written(tmp_path: Path, rules: Rules) -> None:
    write_rules(tmp_path / "rules.yaml", rules)
    assert read_rules(tmp_path / "rules.yaml") == rules
    assert list(read_rules(tmp_path / "rules.yaml")) == list(rules)


def test_the_file_explains_each_kind_once_and_names_the_source() -> None:
    text = rules_text(ADDED)
    assert "arXiv 2409.14254" in text
    for kind in ("eos", "pieces", "diversity"):
        assert text.count(f"# kind {kind}:") == 1
    assert '    " should": -6.0\n' in text
    assert '    "\\n": 1.0\n' in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eos:\n  kind: eos\n  wait: 3\n", "rules.yaml:3: eos.wait: there is no such field."),
        ("eos:\n  kind: eos\n  tokens: 0\n", "rules.yaml:3: eos.tokens: 0: it should be greater than or equal to 1."),
        ("eos:\n  kind: eos\n  weight: yes\n", "rules.yaml:3: eos.weight: True: it should be a valid number."),
        ("eos:\n  kind: eos\n  weight: .nan\n", "rules.yaml:3: eos.weight: nan: it should be a finite number."),
        ("eos:\n  weight: 3\n", "rules.yaml:1: eos: the field 'kind' is missing"),
        ("a:\n  kind: eoss\n", "rules.yaml:2: a.kind: 'eoss': it should be one of 'eos', 'pieces', 'diversity'."),
        ("a:\n  kind: diversity\n  since: prompt\n", "rules.yaml:3: a.since: 'prompt': it should be 'instruction' or"),
        ('a:\n  kind: pieces\n  weights:\n    " I": -5\n    " We": low\n', "rules.yaml:5: a.weights. We: 'low': it sh"),
        (
            "a:\n  kind: pieces\n  weights:\n    No: -5\n",
            "rules.yaml:4: No is no text in YAML. Put it in quotes.",
        ),
        ('a:\n  kind: pieces\n  weights:\n    "": -5\n', "rules.yaml:4: a.weights.: "),
        ("a:\n  kind: pieces\n  weights:\n    I: 1\n    I: 2\n", "rules.yaml:5: 'I' is set in line 4 already."),
        ("a b:\n  kind: eos\n", "rules.yaml:1: a b: "),
        ("eos: 3\n", "rules.yaml:1: eos: 3: it should be a mapping of fields."),
        ("", "rules.yaml is empty."),
        ("- eos\n", "rules.yaml:1: "),
        ("{}", "rules.yaml:1: "),
        ("a: [\n", "rules.yaml is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_rules(tmp_path / "rules.yaml")
    assert str(error.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_every_wrong_value_is_listed(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("a:\n  kind: eos\n  tokens: -1\nb:\n  kind: diversity\n  weight: x\n")
    with pytest.raises(UserError) as error:
        read_rules(tmp_path / "rules.yaml")
    assert [line.split(": ")[0].rpartition(":")[2] for line in str(error.value).splitlines()] == ["3", "6"]


def test_a_file_that_is_missing_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        read_rules(tmp_path / "none.yaml")
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not valid YAML"):
        read_rules(tmp_path / "rules.yaml")


def test_rules_are_selected_and_left_out_by_name() -> None:
    assert list(select_rules(PUBLISHED, only=None, without=["eos"])) == ["pieces", "diversity"]
    assert list(select_rules(PUBLISHED, only=["diversity", "eos"], without=[])) == ["eos", "diversity"]
    for only, without in ((["length"], []), (None, ["length"])):
        with pytest.raises(UserError, match="There is no rule 'length'"):
            select_rules(PUBLISHED, only=only, without=without)
    with pytest.raises(UserError, match="No rule is left"):
        select_rules(PUBLISHED, only=["eos"], without=["eos"])
