"""The options of ``rt data feedback``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.quality.personal_data import PersonalData

__all__ = ["FeedbackConfig", "Variant"]

Variant = Literal["expert", "on-policy"]
"""expert: the response that drew dissatisfaction against a better one. on-policy: two of the model to be tuned."""


class FeedbackConfig(AskOptions):
    """Make preference pairs from what users said about the answers in logged conversations (Shi et al. 2024).

    Four asks: which messages praise or criticise the answer before them, what the user wanted, a better answer, and
    whether it is better by the user's own checklist. Re-run the same command to resume; OUTPUT.audit.jsonl holds every
    answer.

    For example:
        rt data feedback logs.jsonl --model openai/gpt-5-mini --output pairs.jsonl --dry-run
        rt data feedback logs.jsonl --model openai/gpt-5-mini --variant on-policy --policy runs/mine \\
            --output pairs.jsonl
        rt data feedback logs.jsonl --model openai/gpt-5-mini --output pairs.jsonl --responses preferred.jsonl
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file or folder of conversations: 'messages' rows, WildChat's rows, or WildFeedback's annotated utterances."""
    output: Path
    """The JSONL file of pairs to write: prompt, earlier_turns, completion, rejected, preferences."""
    variant: Variant = "expert"
    """expert: the logged response that drew dissatisfaction is rejected, and --model writes a better one. on-policy:
    --policy writes both, the better one with the user's preferences in view."""
    policy: str | None = None
    """The model to be tuned, for on-policy: any model spec."""
    judge: str | None = None
    """The model that checks the pairs. Defaults to --model."""
    items: Path | None = None
    """A YAML file of the signs of satisfaction and dissatisfaction. Defaults to the 18 that come along."""
    labels: Path | None = None
    """Conversations whose messages people labelled ('feedback': satisfied, dissatisfied, both or none): measure how far
    the labelling agrees with them."""
    trust_labels: bool = False
    """Use the labels in the conversations themselves, where there are any, instead of asking."""
    responses: Path | None = None
    """Also write a JSONL file of preferred responses for response tuning: those that satisfied, and the chosen ones."""
    neutral_responses: bool = False
    """Keep responses without feedback in --responses as well. Those that drew dissatisfaction are always left out."""
    personal_data: PersonalData = "patterns"
    """How to find conversations with personal data, which are left out: by patterns (e-mail, telephone, card, account
    and IP numbers), by Presidio (names and places too; needs the extra personal-data), or keep them."""
    most_preferences: int = Field(default=5, ge=1)
    """The most lines of a user's preferences."""
