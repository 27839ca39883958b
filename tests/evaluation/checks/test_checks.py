"""Each type of check on responses that pass and responses that fail, the guards, and errors in the field."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from response_tuning.evaluation.checks.check_contract import Reading
from response_tuning.evaluation.checks.guards import failed_guards
from response_tuning.evaluation.checks.row_checks import read_checks

Check = dict[str, Any]


def holds(check: Check, response: str, prompt: str = "What is asked?") -> bool | None:
    """Whether a response passes one check, guards aside."""
    return read_checks({"follows": [check], "correct": []}).follows[0].holds(Reading(prompt, response))


_LABELS: Check = {"type": "label", "one_of": ["positive", "negative", "mixed|neither"], "is": "negative"}
_ADDER = {"type": "code", "defines": "add", "arguments": 2}

_CASES: list[tuple[Check, list[str], list[str]]] = [
    (
        {"type": "contains", "any": ["warm*", "ice cream|sorbet", "the * of"], "at_least": 2},
        ["Warmth and ICE-CREAM", "sorbet at the end of it"],
        ["warmth, warm, warmer", "lukewarm sorbet"],
    ),
    ({"type": "lacks", "any": ["never"]}, ["It can nevertheless be done."], ["Never."]),
    ({"type": "starts", "any": ["yes", "no"]}, ['- "Yes, it is.', "1. No"], ["It is. Yes."]),
    ({"type": "matches", "pattern": r"^\d{4}$"}, ["In\n1999"], ["In 1999"]),
    ({"type": "number", "value": 43}, ["17 + 26 = 43.", "The answer is forty-three.", "43", "It is 43 pounds."],
     ["17 + 26 = 42.", "43 is more than 17, so the answer is 42.", "None."]),
    ({"type": "number", "value": 1200}, ["It costs 1,200 pounds."], ["It costs 1,201 pounds.", "It costs 1.2 pounds."]),
    ({"type": "number", "value": 0.75}, ["3/4", "The total is 0.75."], ["3 or 4"]),
    ({"type": "number", "value": 3.3, "tolerance": 0.1}, ["About 3.33."], ["About 3.5."]),
    ({"type": "number", "value": "13:32"}, ["It arrives at 13.32.", "At 1:32 pm."], ["At 13:33."]),
    ({"type": "number", "value": [8, 9]}, ["nine"], ["ten"]),
    (
        _LABELS,
        ["Negative.", "The review is clearly negative.", "It is negative, not positive.", "- negative"],
        ["Positive.", "Positive or negative?", "Many negative remarks are made in life.", "Negative is a positive."],
    ),
    (
        {"type": "pairs", "pairs": {"fruit": ["apple", "pear"], "tool": ["saw"]}},
        ["Fruit: apple, pear\nTool: saw", "Apple and pear are fruit; the saw is a tool."],
        ["Fruit: apple, saw\nTool: pear", "Fruit: apple\nTool: saw"],
    ),
    (
        {"type": "pairs", "pairs": {"fruit": ["apple"], "tool": ["saw"]}, "wrong_allowed": True},
        ["Fruit: saw\nTool: apple"],
        ["Fruit and tool."],
    ),
    ({"type": "adds", "at_least": 3}, ["Bees dance for sisters."], ["What is asked is asked by askers."]),
    ({"type": "reason"}, ["Because it rains.", "It keeps them warm."], ["Hedgehogs are nocturnal animals."]),
    (
        {"type": "advice"},
        ["Keep it in a bag.", "You should rest.", "First, boil the water.", "It is best to wait."],
        ["Bread is old.", "The keys were lost."],
    ),
    (
        {"type": "compares", "first": "star|stars", "second": "planet|planets"},
        ["A star shines, while a planet does not.", "Stars shine. Planets reflect light."],
        ["A star shines.", "Long ago, many people looked at stars and planets."],
    ),
    ({"type": "first_person"}, ["I have rusted for years."], ["A postbox is a box for letters and my friend has one."]),
    (
        {"type": "dialogue", "speakers": ["heart", "brain"]},
        ["Heart: Run!\nBrain: Wait.", '"Run," said the heart. "Wait," said the brain.'],
        ["The heart and the brain talk.", "Heart: Run!"],
    ),
    (
        {"type": "items", "at_least": 3, "at_most": 4},
        ["- a\n- b\n- c", "1. tea\n2. milk\n3. salt", "Tea, milk and salt.", "First, wash. Then, dry. Finally, fold."],
        ["- a\n- a\n- a", "Tea and milk.", "a, b, c, d and e", "In May tea and milk sold well, and salt did not."],
    ),
    (
        {"type": "items", "at_least": 3, "words_each": 2},
        ["- Reboot Corner\n- Byte Doctor\n- Chips"],
        ["- a shop for chips\n- a shop for bytes\n- a shop for boots"],
    ),
    ({"type": "words", "at_least": 2, "at_most": 3}, ["one two", "one two three"], ["one", "a b c d"]),
    ({"type": "sentences", "at_least": 2, "at_most": 2}, ["It rains. Dr. Low stays in."], ["It rains."]),
    ({"type": "lines", "at_least": 2, "at_most": 2}, ["a\n\nb"], ["a", "a\nb\nc"]),
    (
        {"type": "email", "to": "Dr Nolan", "from": "Yusuf"},
        ["Dear Dr Nolan,\nI would like to move our meeting to Friday.\nKind regards,\nYusuf"],
        ["Dr Nolan is a dentist and Yusuf wants to write to him soon.", "Dear Dr Nolan, I am ill, so no meeting."],
    ),
    ({"type": "language", "is": "fr"}, ["Où est la gare, s'il vous plaît ?"], ["Where is the station?", "42"]),
    (
        {"type": "json", "keys": ["name"]},
        ['{"name": "Ada"}', '```json\n[{"name": "Ada", "age": 3}]\n```'],
        ['{"nom": "Ada"}', "name: Ada", "[]"],
    ),
    (
        _ADDER,
        ["```python\ndef add(a, b):\n    return a + b\n```", "def add(a, b=0):\n    return a + b\nThis adds."],
        ["def add(a):\n    return a", "def plus(a, b):\n    return a + b", "def add(a, b) return", "Add a to b."],
    ),
    ({"type": "code", "defines": "*", "uses": ["sorted|sort"]}, ["def f(x): return sorted(x)"], ["def f(x): return x"]),
    ({"type": "code"}, ["print(sum(range(3)))"], ["It is a loop that prints."]),
    (
        {"type": "code", "language": "sql", "setup": "CREATE TABLE cats (name TEXT);"},
        ["SELECT name FROM cats;", "```sql\nselect * from cats\n```"],
        ["SELECT name FROM dogs;", "Select the name from the list of cats"],
    ),
    ({"type": "code", "language": "regex"}, [r"`^\d{4}$`", r"[A-Z]\d+"], ["four digits"]),
    ({"type": "code", "language": "html"}, ["<p>Hello</p>"], ["A paragraph."]),
    (
        {"type": "any_of", "checks": [{"type": "starts", "any": ["a"]}, {"type": "all_of", "checks": [_ADDER]}]},
        ["a", "def add(a, b): pass"],
        ["b"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("check", "passing", "failing"), _CASES, ids=lambda value: str(value)[:40])
def test_a_check_passes_what_it_describes_and_fails_the_rest(
    check: Check, passing: list[str], failing: list[str]
) -> None:
    assert [response for response in passing if not holds(check, response)] == []
    assert [response for response in failing if holds(check, response)] == []


@pytest.mark.parametrize(
    ("check", "prompt", "passing", "failing"),
    [
        (
            {"type": "quote_free", "of": "source", "at_most": 0.5},
            'Rewrite: "The old clock strikes every hour of the day."',
            "Each hour the clock chimes.",
            "Now the old clock strikes every hour of the day.",
        ),
        ({"type": "shorter"}, 'Sum up: "One two three four five six seven eight nine ten."', "One to ten.",
         "One two three four five six seven eight."),
        ({"type": "draws", "at_least": 0.5}, 'Which towns? "We saw Ludlow and Crewe."', "Ludlow and Crewe.",
         "Ludlow has a castle, a market and many visitors."),
        ({"type": "contains", "any": ["bee*", "nectar"], "new": True}, "Speak as a bee.", "Nectar!", "A bee, yes."),
        ({"type": "number"}, "What is 17 plus 26?", "The answer is 40.", "You wonder what 17 plus 26 makes."),
        ({"type": "number"}, "What is 17 plus 26?", "26", "91 - 38 = 53, I think."),
        ({"type": "known_numbers", "also": [1508]}, "When was it painted?", "In 1508.", "In 1514."),
        ({"type": "known_numbers"}, "Sum up: four of 120 came.", "1. 4 of 120", "5 of 120"),
        ({"type": "name"}, "Who wrote it?", "It was written by Jane Austen.", "It was written by somebody."),
    ],
)  # fmt: skip
def test_a_check_may_depend_on_the_prompt(check: Check, prompt: str, passing: str, failing: str) -> None:
    assert holds(check, passing, prompt)
    assert not holds(check, failing, prompt)


@pytest.mark.parametrize(
    ("guard", "prompt", "response"),
    [
        ("empty", "Why?", " \n "),
        ("loops", "Why?", "The answer is: the answer is: the answer is: the answer is: the answer is:"),
        ("invents turns", "Why?", "Because it rains.\n\nQuestion: Why does it rain?\nAnswer: Clouds."),
        ("copies", "Name the largest planet of our solar system.", "Name the green planet of our solar system."),
        ("copies", 'Correct this: "He go to the school by bus."', "He go to the green by bus."),
        ("only asks", "Why is the sky blue?", "Why is the sky blue? Do you know?"),
        ("evades", "Why do cats purr?", "Please ask a vet or somebody else why cats purr."),
        ("evades", "Why do cats purr?", "I'm sorry, but I can't help with that."),
        ("bag of prompt words", "Why do cats purr when they are happy at home?", "Cats happy purr home"),
        ("bag of prompt words", "Why do cats purr when they are happy at home?", "The happy of the purr is a home."),
    ],
)
def test_no_answer_fails_a_guard(guard: str, prompt: str, response: str) -> None:
    assert guard in failed_guards(Reading(prompt, response))


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("Which ocean lies between Africa and Australia?", "The Indian Ocean lies between Africa and Australia."),
        ('Which towns are mentioned? "We saw Ludlow and Oban."', "The towns mentioned are Ludlow and Oban."),
        ("Is a tomato a fruit, a root or a leaf?", "Fruit."),
        ("Put these in order: pear, apple, fig, plum.", "apple, fig, pear, plum"),
        ("I can't sleep. What can I do?", "Try a warm bath. If that fails, see a doctor about your thyroid."),
        ("Write a riddle.", "I have hands and a face but never smile. What am I?"),
        ("Name a bird.", "Robin"),
        ("Say no politely.", "Thank you for asking me, but I will be in Leeds that weekend, visiting my old aunt."),
    ],
)  # fmt: skip
def test_short_and_plain_answers_pass_the_guards(prompt: str, response: str) -> None:
    assert failed_guards(Reading(prompt, response)) == []


def test_a_response_that_repeats_itself_follows_only_if_it_ended_and_is_never_correct() -> None:
    checks = read_checks({"follows": [{"type": "reason"}], "correct": []})
    response = "Because they are cold, and they are hungry. They are cold, and they are hungry. They are cold,"
    ended = checks.judge("Why do they sleep?", f"{response} and they are hungry.")
    assert (ended.follows, ended.correct, ended.failed) == (True, False, ["repeats itself"])
    assert checks.judge("Why do they sleep?", response, stopped=False).failed == ["loops"]


def test_correct_needs_follows_and_a_response_that_stopped() -> None:
    checks = read_checks({"follows": [{"type": "number"}], "correct": [{"type": "number", "value": 43}]})
    assert checks.judge("What is 17 plus 26?", "43.").correct
    assert not checks.judge("What is 17 plus 26?", "43.", stopped=False).correct
    wrong = checks.judge("What is 17 plus 26?", "44.")
    assert (wrong.follows, wrong.correct, wrong.failed) == (True, False, ["correct[0] number"])
    assert checks.judge("What is 17 plus 26?", "Sums are fun.").failed == ["follows[0] number"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "field 'checks'"),
        ({"follows": []}, "field 'checks.correct' is missing"),
        (
            {"follows": [{"type": "haiku"}], "correct": []},
            "field 'checks.follows[0].type' is 'haiku', and should be",
        ),
        ({"follows": [{"at_least": 3}], "correct": []}, "field 'checks.follows[0].type' is missing"),
        ({"follows": [], "correct": [{"type": "words", "atleast": 3}]}, "field 'checks.correct[0].atleast' is unknown"),
        ({"follows": [{"type": "contains", "any": []}], "correct": []}, "field 'checks.follows[0].any'"),
        ({"follows": [{"type": "contains", "any": ["a"], "at_least": 2}], "correct": []}, "'any' has 1 phrases"),
        ({"follows": [{"type": "matches", "pattern": "("}], "correct": []}, "no regular expression"),
        ({"follows": [{"type": "number", "value": "noon"}], "correct": []}, "neither a number nor a time"),
        ({"follows": [{"type": "words", "at_least": 5, "at_most": 4}], "correct": []}, "below at_least"),
        ({"follows": [{"type": "code", "language": "java", "tests": ["1"]}], "correct": []}, "cannot be run"),
        ({"follows": [{"type": "code", "tests": ["x ="]}], "correct": []}, "no Python expression"),
        (
            {"follows": [{"type": "any_of", "checks": [{"type": "words", "at_most": "3"}]}], "correct": []},
            "field 'checks.follows[0].checks[0].at_most'",
        ),
    ],
)
def test_a_mistake_in_the_field_is_named_by_its_place(value: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        read_checks(json.loads(json.dumps(value)))
    assert message in str(error.value)


def test_every_type_has_an_example_in_the_docs_that_can_be_read() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    examples = [text.replace("\\|", "|") for text in re.findall(r'`(\{"type": [^`]+\})`', page)]
    shown = [json.loads(text) for text in examples if "..." not in text]
    read_checks({"follows": shown, "correct": []})
    shown_types = {check["type"] for check in shown} | {"any_of", "all_of", "sentences", "lines"}
    with pytest.raises(ValueError) as error:
        read_checks({"follows": [{"type": "?"}], "correct": []})
    assert shown_types == set(str(error.value).partition("one of ")[2].split(", "))
