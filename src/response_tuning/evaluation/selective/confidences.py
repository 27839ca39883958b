"""The confidences that need a model in this process: of the model that wrote the responses, or of a trained judge."""

from collections.abc import Sequence
from pathlib import Path

from response_tuning.asking.ledger import open_ledger
from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.selective.selective_config import SelectiveConfig
from response_tuning.evaluation.selective.self_rating import rate_responses
from response_tuning.evaluation.shared.identity import data_hash
from response_tuning.inference.choices import DigitRating
from response_tuning.inference.generate import Response
from response_tuning.inference.responder import PromptTooLongError, Responder
from response_tuning.inference.sample import sample_responses
from response_tuning.inference.score import mean_log_likelihoods
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.sentences import row_similarities
from response_tuning.runs.folder import run_of
from response_tuning.runs.judge import load_judge
from response_tuning.runs.load import load_responder
from response_tuning.support.configuration import written_options
from response_tuning.support.progress import progress_bar, warn
from response_tuning.support.records import preview

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
    purpose = f"--confidence {' '.join(name for name in config.confidence if name not in ('judge', 'trained'))}"
    responder = load_responder(config.model, config.format, dtype=config.dtype, device=config.device, purpose=purpose)
    if "likelihood" in config.confidence:
        encoded = [
            _encoded(responder, instruction, response)
            for instruction, response in zip(instructions, responses, strict=True)
        ]
        with progress_bar("scoring own responses", len(encoded)) as bar:
            confidences["likelihood"] = mean_log_likelihoods(responder, encoded, bar=bar)
    if "self" in config.confidence:
        ratings = _own_ratings(responder, pairs)
        confidences["self"] = [rating.expected for rating in ratings]
        confidences["digit_share"] = [rating.digit_share for rating in ratings]
    if "variation" in config.confidence:
        samples = _samples(config, instructions, responder, folder)
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
    return conversation.response_ids(response.text, ended=response.stopped or not response.text)


def _own_ratings(responder: Responder, pairs: Sequence[tuple[str, str]]) -> list[DigitRating]:
    try:
        return rate_responses(responder, pairs)
    except PromptTooLongError as error:
        row = error.index
        name = f"The request to rate the response to row {row + 1} ({preview(pairs[row][0])})"
        raise error.named(name) from None


def _encoded(responder: Responder, instruction: str, response: Response) -> EncodedExample:
    """A prompt and the model's own response, which the context may have ended."""
    prompt = responder.conversation.prompt_ids(instruction)
    ids = [*prompt, *own_response_ids(responder.conversation, response)]
    return EncodedExample(ids[: responder.context], len(prompt))


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
    responder: Responder,
    folder: Path,
) -> list[list[str]]:
    """``--samples`` texts for each instruction; those that are in ``folder`` already are not sampled again."""
    settings = {
        "model": model_fingerprint(config.model) or config.model,
        "format": responder.conversation.format_name,
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
                    responder,
                    instruction,
                    count=config.samples,
                    max_new_tokens=config.max_new_tokens,
                    seed=config.seed,
                )
                ledger.add({"key": key, "instruction": instruction, "texts": [sample.text for sample in samples]})
            bar.advance()
        return [list(ledger.rows[key]["texts"]) for key in keys]
