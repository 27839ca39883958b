"""Core capabilities: the harness's own numbers, on the ids of our conversation."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any, get_args

import pytest
import torch
from inspect_ai.log import read_eval_log
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.evaluation.capabilities import capabilities as core_module
from response_tuning.evaluation.capabilities.capabilities import evaluate_core
from response_tuning.evaluation.capabilities.capabilities_config import CoreConfig
from response_tuning.evaluation.capabilities.harness_model import harness_model
from response_tuning.evaluation.capabilities.task_data import harness_tasks_folder
from response_tuning.example import Example
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName
from tests.conftest import SHARED_DATA

ROWS = 50
BATCH_SIZE = 50
"""Of the tiny model, which never stops: the number of rows hardly matters for the time."""
SUBJECTS = ("anatomy", "virology", "philosophy", "sociology")
"""One of each of MMLU's four groups."""


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """Files laid out as published, made of the starter's held-out pairs: which response belongs to the prompt?"""
    folder = tmp_path_factory.mktemp("core data")
    pairs = [
        (example.prompt or "", example.completion, examples[(index + 7) % len(examples)].completion)
        for index, example in enumerate(examples)
    ]
    pairs = (pairs * (ROWS // len(pairs) + 2))[: ROWS + 20]

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(
        "piqa/valid.jsonl",
        [
            {"goal": prompt, "sol1": (own, other)[index % 2], "sol2": (other, own)[index % 2], "label": index % 2}
            for index, (prompt, own, other) in enumerate(pairs)
        ],
    )
    write(
        "arc/ARC-Easy-Test.jsonl",
        [
            {
                "question": {"stem": prompt, "choices": [{"text": own, "label": "A"}, {"text": other, "label": "B"}]},
                "answerKey": "A",
            }
            for prompt, own, other in pairs
        ],
    )
    write(
        "mmlu/mmlu_test.jsonl",
        [
            {
                "subject": SUBJECTS[index % 9 % 4],
                "question": prompt,
                "choices": ["1", "2", own[:20], other[:20]],
                "answer": "ABCD"[index % 4],
            }
            for index, (prompt, own, other) in enumerate(pairs)
        ],
    )
    sums = [{"question": f"What is {i} + {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"} for i in range(ROWS + 20)]
    write("gsm8k/test.jsonl", sums)
    write("gsm8k/train.jsonl", sums[::-1])
    return folder


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, data_folder: Path) -> CoreConfig:
    return CoreConfig(
        model=str(model_folder),
        data_dir=data_folder,
        output=tmp_path / "core",
        tasks=("piqa",),
        max_examples=8,
        format="tulu",
        dtype="float32",
        device="cpu",
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def harness_alone(
    task: str, data_files: dict[str, str], model: Path, tmp_path: Path, *, num_fewshot: int
) -> dict[str, Any]:
    """The harness by itself: its own definition over a file, its own loading of the model, its own options."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    splits = {
        "training_split": "train" if "train" in data_files else None,
        "validation_split": "validation" if "validation" in data_files else None,
        "test_split": "test" if "test" in data_files else None,
    }
    manager = TaskManager(
        include_path=[harness_tasks_folder() / name for name in ("piqa", "arc", "gsm8k")], include_defaults=False
    )
    override = {
        "task": task,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": data_files, "cache_dir": str(tmp_path / "cache")},
        **splits,
    }
    loaded: Any = manager.load([{"group": "alone", "task": [override]}])
    output: Any = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32"},
        device="cpu",
        batch_size=BATCH_SIZE,
        tasks=[loaded["tasks"][task]],
        num_fewshot=num_fewshot,
        limit=ROWS,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        task_manager=manager,
    )
    return dict(output["results"][task])


def hub_rows(task: str, data: Path, tmp_path: Path) -> dict[str, str]:
    """The rows as the hub's data sets have them, converted here apart from the program."""
    if task == "piqa":
        return {"validation": str(next(data.glob("piqa/valid*.jsonl")))}
    if task == "gsm8k":
        return {split: str(next(data.glob(f"gsm8k/{split}*.jsonl"))) for split in ("train", "test")}
    path = tmp_path / "hub.jsonl"
    with path.open("w") as file:
        for row in read_rows(next(data.glob("arc/ARC-Easy*.jsonl"))):
            texts = [choice["text"] for choice in row["question"]["choices"]]
            labels = [choice["label"] for choice in row["question"]["choices"]]
            flat = {"question": row["question"]["stem"], "choices": {"text": texts, "label": labels}}
            file.write(json.dumps({**flat, "answerKey": row["answerKey"]}) + "\n")
    return {"test": str(path)}


@pytest.fixture(params=["made here", "published"])
def fifty_rows(request: pytest.FixtureRequest, data_folder: Path) -> Iterator[Path]:
    if request.param == "published" and not SHARED_DATA.is_dir():
        pytest.skip(f"the published rows are not in {SHARED_DATA}")
    yield data_folder if request.param == "made here" else SHARED_DATA


@pytest.mark.parametrize(("task", "shots"), [("piqa", 0), ("arc_easy", 0), ("gsm8k", 8)])
def test_the_number_is_the_harnesss_own_on_the_same_fifty_rows(
    task: Any, shots: int, config: CoreConfig, fifty_rows: Path, model_folder: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.chat_template = Conversation(tokenizer, "tulu").chat_template
    with_template = tmp_path / "with template"
    tokenizer.save_pretrained(with_template)
    LlamaForCausalLM.from_pretrained(model_folder).save_pretrained(with_template)
    expected = harness_alone(task, hub_rows(task, fifty_rows, tmp_path), with_template, tmp_path, num_fewshot=shots)
    result = evaluate_core(
        config.model_copy(
            update={"tasks": (task,), "data_dir": fifty_rows, "max_examples": ROWS, "batch_size": BATCH_SIZE}
        )
    )
    assert result.harness[task] == expected
    assert expected["sample_len"] == ROWS
    for metric, estimate in result.metrics[task].items():
        assert estimate.n == ROWS
        assert estimate.value == round(expected[metric if "," in metric else f"{metric},none"], 4)
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("name", [name for name in get_args(FormatName) if name != "own"])
def test_what_is_scored_are_the_ids_of_the_conversation_with_one_bos(
    name: FormatName, config: CoreConfig, tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM
) -> None:
    evaluate_core(config.model_copy(update={"format": name}))
    conversation = Conversation(tokenizer, name)
    harness = harness_model(Responder(LoadedModel(model, tokenizer, "tiny"), conversation), batch_size=1)
    for sample in read_rows(config.output / "samples" / "piqa.jsonl"):  # type: ignore[operator]
        question = f"Question: {sample['doc']['goal']}\nAnswer:"
        for (context, choice), text in zip(
            sample["arguments"], (sample["doc"]["sol1"], sample["doc"]["sol2"]), strict=True
        ):
            context_ids, choice_ids = harness._encode_pair(context, choice)
            expected = [*conversation.prompt_ids(question), *conversation.response_ids(text)[:-1]]
            assert context_ids + choice_ids == expected
            assert expected.count(tokenizer.bos_token_id) == 1


def test_no_token_is_added_to_a_template_that_brings_no_bos(
    tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM
) -> None:
    adding: Any = deepcopy(tokenizer)
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    adding.chat_template = (
        "{% for message in messages %}"
        "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert adding("Hi").input_ids[0] == tokenizer.bos_token_id
    conversation = Conversation(adding, "own")
    harness = harness_model(Responder(LoadedModel(model, adding, "tiny"), conversation), batch_size=1)
    prompt = harness.apply_chat_template([{"role": "user", "content": "Which river?"}])
    assert harness.tok_encode(prompt) == conversation.prompt_ids("Which river?")
    assert harness.tok_batch_encode([prompt])[0].tolist() == [conversation.prompt_ids("Which river?")]


def test_few_shot_examples_are_earlier_turns_and_generation_follows_the_bare_header(
    config: CoreConfig, tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM
) -> None:
    evaluate_core(config.model_copy(update={"tasks": ("gsm8k",), "format": "question-answer"}))
    sample = read_rows(config.output / "samples" / "gsm8k.jsonl")[0]  # type: ignore[operator]
    context, _ = sample["arguments"][0]
    assert context.count("</s>") == 8
    assert context.count("Question: Question: What is") == 9
    assert context.endswith("Answer:\n\nAnswer:")
    harness = harness_model(
        Responder(LoadedModel(model, tokenizer, "tiny"), Conversation(tokenizer, "question-answer")), batch_size=1
    )
    assert harness.tok_encode(context) == tokenizer(context, add_special_tokens=False).input_ids
    assert harness.tok_encode(context).count(tokenizer.bos_token_id) == 1


def test_generation_stops_at_the_conversations_stop_token(
    tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM
) -> None:
    from lm_eval.api.instance import Instance

    conversation = Conversation(tokenizer, "chatml")
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    steps = []

    def say_stop(_module: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        return torch.zeros_like(logits).index_fill(-1, torch.tensor(stop), 9)

    model.get_output_embeddings().register_forward_hook(say_stop)
    harness = harness_model(Responder(LoadedModel(model, tokenizer, "tiny"), conversation), batch_size=1)
    request = Instance("generate_until", {}, ("<s>Hi", {"until": [], "do_sample": False, "temperature": 0.0}), 0)
    assert harness.generate_until([request], disable_tqdm=True) == [""]
    assert len(steps) == 1


def test_a_finished_task_is_read_and_only_a_missing_one_is_run(
    config: CoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_core(config)
    run: list[str] = []
    run_task = core_module._run_task

    def counted(*arguments: Any) -> dict[str, Any]:
        run.append(arguments[3])
        return run_task(*arguments)

    monkeypatch.setattr(core_module, "_run_task", counted)
    both = evaluate_core(config.model_copy(update={"tasks": ("piqa", "arc_easy")}))
    assert run == ["arc_easy"]
    assert both.metrics["piqa"] == first.metrics["piqa"]
    monkeypatch.setattr(core_module, "load_run", None)  # would fail if it were called
    assert evaluate_core(config.model_copy(update={"tasks": ("piqa", "arc_easy")})) == both


def test_a_task_whose_file_changed_is_run_anew(config: CoreConfig, data_folder: Path, tmp_path: Path) -> None:
    own = config.model_copy(update={"data_dir": tmp_path / "data", "max_examples": None})
    copytree(data_folder, tmp_path / "data")
    before = evaluate_core(own).metrics["piqa"]["acc"].n
    (file,) = (tmp_path / "data" / "piqa").iterdir()
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))
    assert evaluate_core(own).metrics["piqa"]["acc"].n == before - 2


def test_other_settings_are_evaluated_anew(config: CoreConfig) -> None:
    evaluate_core(config)
    assert evaluate_core(config.model_copy(update={"max_examples": 9})).metrics["piqa"]["acc"].n == 9


def test_mmlu_takes_equally_many_rows_of_each_subject_and_weighs_subjects_by_them(config: CoreConfig) -> None:
    result = evaluate_core(config.model_copy(update={"tasks": ("mmlu",), "max_examples": 10}))
    counts = {name: result.metrics[f"mmlu_{name}"]["acc"].n for name in SUBJECTS}
    assert sorted(counts.values()) == [2, 2, 3, 3]
    assert result.metrics["mmlu"]["acc"].n == 10
    assert result.metrics["mmlu"]["acc"].value == round(result.harness["mmlu"]["acc,none"], 4)
    assert result.metrics["mmlu_other"]["acc"].n == counts["virology"]
    assert list(result.summary(["mmlu"])) == ["mmlu acc"]


def test_every_prompt_has_a_row_with_its_values_of_which_the_metrics_are_the_means(config: CoreConfig) -> None:
    result = evaluate_core(config.model_copy(update={"tasks": ("gsm8k", "mmlu"), "max_examples": 10}))
    rows = read_rows(config.output / "samples.jsonl")  # type: ignore[operator]
    assert len(rows) == 20
    assert {row["task"] for row in rows} == {"gsm8k", *(f"mmlu_{subject}" for subject in SUBJECTS)}
    assert rows[0]["prompt"] == "Question: What is 0 + 0?\nAnswer:"
    for name, estimate in result.summary(["gsm8k", "mmlu"]).items():
        values = [row["values"][name] for row in rows if name in row["values"]]
        assert len(values) == 10
        assert estimate.value == round(sum(values) / 10, 4)
    saved = json.loads((config.output / "metrics.json").read_text())  # type: ignore[operator]
    assert (saved["task"], saved["judge"], saved["backend"], saved["device"]) == ("core", None, "transformers", "cpu")
    assert saved["settings"]["tasks"] == ["gsm8k", "mmlu"]
    log = read_eval_log(str(config.output / "core.eval"))  # type: ignore[operator]
    assert [sample.output.completion for sample in log.samples or ()] == [row["response"] for row in rows]
    letters = [row["response"] for row in rows if row["task"] != "gsm8k"]
    assert set(letters) <= set("ABCD")
    answers = read_rows(config.output / "samples" / "mmlu.jsonl")  # type: ignore[operator]
    assert [letter == "ABCD"[int(row["target"])] for letter, row in zip(letters, answers, strict=True)] == [
        bool(row["acc"]) for row in answers
    ]


def test_prompts_longer_than_the_context_are_counted(config: CoreConfig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "piqa").mkdir(parents=True)
    lengths = (10, 5000, 10, 10)
    (data / "piqa" / "valid.jsonl").write_text(
        "".join(json.dumps({"goal": "x" * n, "sol1": "a", "sol2": "b", "label": 0}) + "\n" for n in lengths)
    )
    assert evaluate_core(config.model_copy(update={"data_dir": data})).prompts_cut == {"piqa": 1}


def test_without_a_network_the_message_names_data_dir(config: CoreConfig) -> None:
    with pytest.raises(UserError, match=r"cannot be downloaded from the Hugging Face hub.*--data-dir"):
        evaluate_core(config.model_copy(update={"data_dir": None}))
