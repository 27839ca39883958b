"""Best of n: sample several responses, and take the one that a trained judge grades highest (Ye & Ng 2024)."""

from collections.abc import Iterator, Sequence

from response_tuning.conversation import Conversation
from response_tuning.inference.generate import Response
from response_tuning.inference.sample import sample_responses
from response_tuning.models.load import LoadedModel
from response_tuning.runs.judge import TrainedJudge

__all__ = ["best_of", "best_responses"]


def best_of(judge: TrainedJudge, instruction: str, candidates: Sequence[Response]) -> Response:
    """The candidate that the judge grades highest; the first of equal ones. Equal texts are graded once.

        candidates = sample_responses(run.loaded, run.conversation, prompt, count=8, max_new_tokens=256)
        best_of(load_judge("runs/judge"), prompt, candidates)

    Raises:
        ValueError: there are no candidates.
    """
    texts = list(dict.fromkeys(candidate.text for candidate in candidates))
    grades = dict(zip(texts, judge.scores([(instruction, text) for text in texts]), strict=True))
    return max(candidates, key=lambda candidate: grades[candidate.text])


def best_responses(
    loaded: LoadedModel,
    conversation: Conversation,
    judge: TrainedJudge,
    instructions: Sequence[str],
    *,
    count: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[dict[int, Response]]:
    """The best of ``count`` samples for each instruction, as they are found, by the instruction's index.

    The samples follow from the seed and the instruction alone, whatever else is asked.

    Args:
        loaded: the model.
        conversation: its chat format.
        judge: who grades.
        instructions: what the model is asked.
        count: how many responses to sample for each.
        max_new_tokens: the longest response, in tokens.
        temperature: of the samples.
        seed: of the samples.
    """
    for index, instruction in enumerate(instructions):
        candidates = sample_responses(
            loaded,
            conversation,
            instruction,
            count=count,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        yield {index: best_of(judge, instruction, candidates)}
