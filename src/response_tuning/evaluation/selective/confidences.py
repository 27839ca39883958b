"""The confidences that need a model in this process: of the model that wrote the responses, or of a trained judge."""

from collections.abc import Sequence
from pathlib import Path

from response_tuning.asking.ledger import open_ledger
from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.selective.selective_config import SelectiveConfig
from response_tuning.evaluation.selective.self_rating import rate_responses
from response_tuning.evaluation.shared.identity import data_hash
from response_tuning.inference.generate import Response
from response_tuning.inference.sample import sample_responses
from response_tuning.inference.score import mean_log_likelihoods
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.load import LoadedModel
from response_tuning.models.sentences import row_similarities
from response_tuning.runs.folder import run_of
from response_tuning.runs.judge import load_judge
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.configuration import written_options
from response_tuning.support.progress import progress_bar, warn

__all__ = ["own_confidences", "own_response_ids"]

_IDENTITY = {"record": "sampled responses of models in this process"}


def own_confidences(
    config: SelectiveConfig, instructions: Sequence[str], responses: Sequence[Response], *, folder: Path
) -> dict[str, list[float]]:
    """The confidence in each response, by the name of the confidence, and for ``self`` the probability of a digit.

    Args:
        config: which are wanted, and the model.
        instructions: what was asked.
        responses: to each of them.
        folder: where samples are kept.

    Raises:
        UserError: the model or the judge cannot be loaded.
    """
    confidences: dict[str, list[float]] = {}
    pairs = [(instruction, response.text) for instruction, response in zip(instructions, responses, strict=True)]
    if "trained" in config.confidence:
        assert config.judge_run is not None
        judge = load_judge(config.judge_run, dtype=config.dtype, device=config.device)
        _warn_of_training_items(config.judge_run, instructions)
        confidences["trained"] = judge.scores(pairs, label="grading")
        del judge
    if not {"likelihood", "self", "variation"} & set(config.confidence):
        return confidences
    loaded, conversation = load_with_conversation(config.model, config.format, dtype=config.dtype, device=config.device)
    if "likelihood" in config.confidence:
        encoded = [
            _encoded(conversation, instruction, response)
            for instruction, response in zip(instructions, responses, strict=True)
        ]
        with progress_bar("scoring own responses", len(encoded)) as bar:
            confidences["likelihood"] = mean_log_likelihoods(loaded, encoded, bar=bar)
    if "self" in config.confidence:
        ratings = rate_responses(loaded, conversation, pairs)
        confidences["self"] = [rating.expected for rating in ratings]
        confidences["digit_share"] = [rating.digit_share for rating in ratings]
    if "variation" in config.confidence:
        samples = _samples(config, instructions, loaded, conversation, folder)
        confidences["variation"] = _agreement([response.text for response in responses], samples)
    return confidences


def _warn_of_training_items(judge_run: str, instructions: Sequence[str]) -> None:
    """Warn where the judge was trained on answers to the same instructions, if its data are still there."""
    data = Path(str(written_options(run_of(Path(judge_run)).config).get("data", "")))
    if not data.is_file():
        return
    known = {example.prompt for example in load_examples(str(data), verdicts=True)}
    seen = sum(instruction in known for instruction in instructions)
    if seen:
        warn(
            f"{judge_run} was trained on answers to {seen} of these {len(instructions)} instructions, which it may "
            "remember. Measure it on others, by --data."
        )


def own_response_ids(conversation: Conversation, response: Response) -> list[int]:
    """The token ids that the likelihood of a response is measured on: with the stop token only if the model wrote it.

    An empty response is measured on the stop token, as it has no other.
    """
    ids = conversation.response_ids(response.text)
    return ids if response.stopped or not response.text else ids[:-1]


def _encoded(conversation: Conversation, instruction: str, response: Response) -> EncodedExample:
    prompt = conversation.prompt_ids(instruction)
    return EncodedExample([*prompt, *own_response_ids(conversation, response)], len(prompt))


def _agreement(texts: Sequence[str], samples: Sequence[Sequence[str]]) -> list[float]:
    """The mean cosine similarity of each response with samples of the same model.

    One minus it is the variation ratio for the original prediction (VRO; Huang et al. 2023, arXiv 2307.10236).
    """
    flat = row_similarities(
        [text for text, others in zip(texts, samples, strict=True) for _ in others],
        [other for others in samples for other in others],
    )
    values = iter(flat)
    return [sum(next(values) for _ in others) / len(others) for others in samples]


def _samples(
    config: SelectiveConfig,
    instructions: Sequence[str],
    loaded: LoadedModel,
    conversation: Conversation,
    folder: Path,
) -> list[list[str]]:
    """``--samples`` texts for each instruction; those that are in ``folder`` already are not sampled again."""
    settings = {
        "model": model_fingerprint(config.model) or config.model,
        "format": conversation.format_name,
        "dtype": config.dtype,
        "max_new_tokens": config.max_new_tokens,
        "samples": config.samples,
        "seed": config.seed,
    }
    keys = [data_hash([settings, {"instruction": instruction}]) for instruction in instructions]
    with (
        open_ledger(folder / "samples.jsonl", _IDENTITY) as ledger,
        progress_bar("sampling responses", len(instructions)) as bar,
    ):
        for key, instruction in zip(keys, instructions, strict=True):
            if key not in ledger.rows:
                samples = sample_responses(
                    loaded,
                    conversation,
                    instruction,
                    count=config.samples,
                    max_new_tokens=config.max_new_tokens,
                    seed=config.seed,
                )
                ledger.add({"key": key, "instruction": instruction, "texts": [sample.text for sample in samples]})
            bar.advance()
        return [list(ledger.rows[key]["texts"]) for key in keys]
