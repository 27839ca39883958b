"""What the probe says of one response, without a judge."""

from response_tuning.evaluation.shared.text_measures import echoes, repeats
from response_tuning.inference.generate import Response

__all__ = ["response_verdicts"]

_NEAREST_FOR_AN_ANSWER = 5


def response_verdicts(instruction: str, response: Response, instruction_rank: int) -> dict[str, bool]:
    """Whether a response stops, echoes, repeats, is relevant, and answers, as ``probe`` defines them.

    Args:
        instruction: what was asked.
        response: what the model made of it.
        instruction_rank: the rank of the instruction among all, by nearness to the response (``instruction_ranks``).
    """
    echo, loop = echoes(instruction, response.text), repeats(response.text)
    return {
        "stops": response.stopped,
        "echoes": echo,
        "repeats": loop,
        "relevant": instruction_rank == 1,
        "answers": response.stopped and not echo and not loop and instruction_rank <= _NEAREST_FOR_AN_ANSWER,
    }
