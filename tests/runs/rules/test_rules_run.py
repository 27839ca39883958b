"""Runs by rules: made, asked and scored as any run, with probabilities that a plain loop gives as well."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from response_tuning.cli.main import main
from response_tuning.example import Example
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.runs.load import load_run
from response_tuning.runs.local import LocalRun, responder_of
from response_tuning.runs.rules.make_rules import RulesRunMade, make_rules
from response_tuning.runs.rules.rule_file import PUBLISHED, EosRule, PiecesRule, Rules, read_rules, write_rules
from response_tuning.runs.rules.rules_config import RulesConfig
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json

PROMPTS = ["What is rain?", "Name a colour.", "Why do birds sing in the morning? Tell me at length."]


def made_in(folder: Path, model: Path, **options: object) -> RulesRunMade:
    return make_rules(RulesConfig.model_validate({"model": str(model), "output": folder / "rules", **options}))


def loaded(path: Path) -> LocalRun:
    run = load_run(path, dtype="float32", device="cpu")
    assert isinstance(run, LocalRun)
    return run


@pytest.fixture
def run(tmp_path: Path, model_folder: Path) -> LocalRun:
    """The published rules, with an end that a response of the tiny model reaches."""
    rules: Rules = {**PUBLISHED, "eos": EosRule(tokens=20, weight=30.0, afterwards=30.0)}
    write_rules(tmp_path / "mine.yaml", rules)
    return loaded(made_in(tmp_path, model_folder, config=tmp_path / "mine.yaml").path)


def plain_log_probabilities(run: LocalRun) -> Callable[[list[int], list[int]], Tensor]:
    """The next token's log-probabilities after a prompt and a response so far, by the rules' definition: a loop over
    tokens, with no cache, no batch and no padding."""
    responder = responder_of(run, purpose="The test")
    conversation, model = responder.conversation, responder.loaded.model
    stops = conversation.stop_token_ids
    before = conversation.tokenizer("<s><|user|>\n", add_special_tokens=False).input_ids
    pieces = {
        token: row["weight"] for row in read_json(Path(run.spec) / "tokens.json")["pieces"] for token in row["ids"]
    }

    def of(prompt: list[int], response: list[int]) -> Tensor:
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *response]])).logits[0, -1].clone()
        for token, weight in pieces.items():
            logits[token] += weight
        begins = len(before) if prompt[: len(before)] == before else 1  # after BOS where there is no user turn
        for token in {*prompt[begins:], *response} - set(stops):
            logits[token] -= 1.5
        for token in stops:
            logits[token] += 30.0 * len(response) / 20 if len(response) < 20 else 30.0
        logged: Tensor = logits.log_softmax(dim=-1)
        return logged

    return of


def test_responses_are_those_of_a_plain_loop_alone_and_in_a_batch(run: LocalRun) -> None:
    log_probabilities = plain_log_probabilities(run)
    conversation = run.responder.conversation
    expected = []
    for prompt in PROMPTS:
        ids: list[int] = []
        while not ids or (ids[-1] not in conversation.stop_token_ids and len(ids) < 40):
            ids.append(int(log_probabilities(conversation.prompt_ids(prompt), ids).argmax()))
        expected.append((conversation.decode(ids), len(ids)))
    for batch_size in (1, 3):
        responses = run.generate(PROMPTS, max_new_tokens=40, batch_size=batch_size)
        assert [(response.text, response.token_count) for response in responses] == expected
        assert all(response.stopped for response in responses)
    plain = load_run(Path(read_json(Path(run.spec) / "base_model.json")["spec"]), dtype="float32", device="cpu")
    assert [r.text for r in plain.generate(PROMPTS, max_new_tokens=40)] != [text for text, _ in expected]


def test_scores_are_log_likelihoods_after_the_rules_with_and_without_a_prompt(run: LocalRun) -> None:
    log_probabilities = plain_log_probabilities(run)
    conversation = run.responder.conversation
    completion = "Water that falls from clouds, and we should say that I like it!"
    response = conversation.response_ids(completion)
    prefix = conversation.encode(Example(completion="x"), "rt")
    prompts = [*map(conversation.prompt_ids, PROMPTS), prefix.input_ids[: prefix.prompt_length]]
    expected = [
        sum(float(log_probabilities(ids, response[:step])[token]) for step, token in enumerate(response))
        for ids in prompts
    ]
    scores = run.score([*PROMPTS, None], [completion] * len(prompts))
    assert scores == pytest.approx(expected, rel=1e-4)
    alone = [run.score([prompt], [completion])[0] for prompt in (*PROMPTS, None)]
    assert scores == pytest.approx(alone, rel=1e-5)


def test_the_folder_says_how_to_answer(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder, format="chatml")
    assert read_rules(made.path / "rules.yaml") == PUBLISHED
    tokens = read_json(made.path / "tokens.json")
    assert (tokens["format"], tokens["lacking"]) == ("chatml", made.lacking)
    assert loaded(made.path).responder.conversation.format_name == "chatml"
    marks = [row for row in tokens["pieces"] if row["weight"] == -4]
    assert [row["text"] for row in marks] == ["<|im_start|>"]


def test_the_marks_follow_the_format_that_the_run_is_asked_in(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder)
    run = load_run(made.path, "chatml", dtype="float32", device="cpu")
    assert isinstance(run, LocalRun)
    assert run.responder.conversation.format_name == "chatml"
    (processor,) = run.responder.processors_of([[0, 0]])
    mark = run.responder.loaded.tokenizer.convert_tokens_to_ids("<|im_start|>")
    vocabulary = len(run.responder.loaded.tokenizer)
    weights = processor(torch.tensor([[0, 0]]), torch.zeros(1, vocabulary))[0]
    assert weights[mark] == -4.0


def test_rules_are_left_out_by_name_and_what_is_lacking_is_reported(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["rules", str(model_folder), "--output", str(tmp_path / "run"), "--rules", "eos,pieces"]
    assert main([*command, "--without", "eos"]) == 0
    printed = capsys.readouterr()
    assert list(read_rules(tmp_path / "run" / "rules.yaml")) == ["pieces"]
    lacking = read_json(tmp_path / "run" / "tokens.json")["lacking"]
    assert lacking
    assert f"has no token for {lacking[0]!r}" in " ".join(printed.err.split())
    assert printed.out.count("no such token") == len(lacking)


def test_a_file_of_rules_is_taken_from_another_run_and_may_be_edited(tmp_path: Path, model_folder: Path) -> None:
    first = made_in(tmp_path, model_folder)
    file = first.path / "rules.yaml"
    file.write_text(file.read_text() + "mine:\n  kind: pieces\n  weights: {e: 9}\n", encoding="utf-8")
    assert main(["rules", str(model_folder), "--config", str(file), "--output", str(tmp_path / "two")]) == 0
    rules = read_rules(tmp_path / "two" / "rules.yaml")
    assert rules["mine"] == PiecesRule(weights={"e": 9.0})
    assert loaded(first.path).generate(["Hello"], max_new_tokens=5)[0].text.count("e") >= 3


def test_the_same_command_again_changes_nothing_and_an_edited_file_is_kept(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder)
    before = {path.name: path.read_bytes() for path in made.path.iterdir()}
    made_in(tmp_path, model_folder)
    assert {path.name: path.read_bytes() for path in made.path.iterdir()} == before
    with pytest.raises(UserError, match="made with another configuration"):
        made_in(tmp_path, model_folder, without="eos")
    file = made.path / "rules.yaml"
    file.write_text(file.read_text().replace("-1.5", "-2.5"), encoding="utf-8")
    with pytest.raises(UserError, match="holds other rules"):
        made_in(tmp_path, model_folder)
    assert "-2.5" in file.read_text()


def test_an_interrupted_run_is_completed_by_the_same_command(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder)
    (made.path / "rules.yaml").unlink()
    made_in(tmp_path, model_folder)
    assert read_rules(made.path / "rules.yaml") == PUBLISHED


def test_the_fingerprint_is_that_of_rules_base_and_format(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder)
    first = model_fingerprint(str(made.path))
    other = made_in(tmp_path / "other", model_folder, format="alpaca")
    moved = made.path.rename(tmp_path / "moved")
    assert first not in (None, model_fingerprint(str(model_folder)), model_fingerprint(str(other.path)))
    assert model_fingerprint(str(moved)) == first
    file = moved / "rules.yaml"
    file.write_text(file.read_text().replace("-1.5", "-2.5"), encoding="utf-8")
    assert model_fingerprint(str(moved)) != first


def test_a_wrong_value_in_the_file_is_named_when_the_run_is_asked(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder)
    file = made.path / "rules.yaml"
    file.write_text(file.read_text().replace("tokens: 250", "tokens: many"), encoding="utf-8")
    line = file.read_text().splitlines().index("  tokens: many") + 1
    with pytest.raises(UserError, match=rf"rules\.yaml:{line}: eos\.tokens: 'many'"):
        loaded(made.path)


def test_rules_are_put_on_models_and_not_on_other_rules(tmp_path: Path, model_folder: Path) -> None:
    made = made_in(tmp_path, model_folder)
    with pytest.raises(UserError, match="is a run of the kind rules"):
        made_in(tmp_path / "over", made.path)
    with pytest.raises(UserError, match="There is no model"):
        made_in(tmp_path / "over", tmp_path / "none")
    assert not (tmp_path / "over").exists()


def test_a_configuration_in_place_of_rules_is_an_error(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = made_in(tmp_path, model_folder)
    arguments = ["rules", str(model_folder), "--output", str(tmp_path / "two")]
    assert main([*arguments, "--config", str(made.path / "config.yaml")]) == 2
    assert "config.yaml:1: kind: 'rules': it should be a mapping" in " ".join(capsys.readouterr().err.split())
