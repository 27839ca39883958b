"""Best of n: sample several responses, and take the one that a trained judge grades highest (Ye & Ng 2024)."""

from collections.abc import Iterator, Sequence

from response_tuning.inference.generate import Response
from response_tuning.inference.responder import Responder
from response_tuning.inference.sample import sample_responses
from response_tuning.runs.judge import TrainedJudge

__all__ = ["best_of", "best_responses"]


def best_of(judge: TrainedJudge, instruction: str, candidates: Sequence[Response]) -> Response:
    """The candidate that the judge grades highest; the first of equal ones. Equal texts are graded once.

        candidates = sample_responses(responder, prompt, count=8, max_new_tokens=256)
        best_of(load_judge("runs/judge"), prompt, candidates)

    Raises:
        ValueError: there are no candidates.
    """
    texts = list(dict.fromkeys(candidate.text for candidate in candidates))
    grades = dict(zip(texts, judge.scores([(instruction, text) for text in texts]), strict=True))
    return max(candidates, key=lambda candidate: grades[candidate.text])


def best_responses(
    responder: Responder,
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
        responder: the model, and how it is asked.
        judge: who grades.
        instructions: what the model is asked.
        count: how many responses to sample for each.
        max_new_tokens: the longest response, in tokens.
        temperature: of the samples.
        seed: of the samples.

    Raises:
        PromptTooLongError: an instruction does not fit the model's context; before any is answered.
    """
    responder.require_fit([responder.conversation.prompt_ids(instruction) for instruction in instructions])
    for index, instruction in enumerate(instructions):
        candidates = sample_responses(
            responder,
            instruction,
            count=count,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        yield {index: best_of(judge, instruction, candidates)}
