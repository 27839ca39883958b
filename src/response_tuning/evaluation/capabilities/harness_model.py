"""A run as a model of the lm-evaluation-harness.

A trained run or a base model is the harness's own kind of model, with our stop tokens. A run that answers after
demonstrations or by rules generates and scores as everywhere else here: after its logits processors, with its prefix
computed once, and with the text that ends its responses removed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from response_tuning.conversation import EncodedExample
from response_tuning.inference.generate import generate_batch
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.chat_files import set_stop_tokens

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["harness_model"]

_Request = tuple[tuple[str, str], list[int], list[int]]
"""Context and continuation as text, and the ids of both."""


def harness_model(responder: Responder, *, batch_size: int) -> HFLM:
    """A run for the harness: it adds no token to the rendered chat template, and has our stop tokens."""
    set_stop_tokens(responder.loaded.model, responder.conversation.stop_token_ids)
    options: dict[str, Any] = {
        "pretrained": responder.loaded.model,
        "tokenizer": responder.loaded.tokenizer,
        "backend": "causal",
        # The template contains the beginning-of-sequence token, if the tokenizer has one.
        "add_bos_token": False,
        "softmax_dtype": "float32",
        "batch_size": batch_size,
    }
    if responder.stops is None and responder.processors is None:
        return HFLM(**options)
    return _UntrainedModel(responder, **options)


class _UntrainedModel(HFLM):  # type: ignore[misc]
    """Generates and scores by a ``Responder``; what is too long is truncated at its beginning, as the harness does."""

    def __init__(self, responder: Responder, **options: Any) -> None:
        super().__init__(**options)
        self._responder = responder

    def _loglikelihood_tokens(self, requests: Sequence[_Request], **_options: Any) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation. No task here asks whether it is the greedy one: False."""
        encoded = [self._fitted(context, continuation) for _, context, continuation in requests]
        return [(score, False) for score in log_likelihoods(self._responder, encoded)]

    def _fitted(self, context: list[int], continuation: list[int]) -> EncodedExample:
        ids = [*context, *continuation][-int(self.max_length) :]
        return EncodedExample(ids, len(ids) - len(continuation))

    def generate_until(self, requests: "list[Instance]", **_options: Any) -> list[str]:
        """The greedy response to each context, up to the first of its request's stop texts."""
        texts = []
        for start in range(0, len(requests), self.batch_size):
            texts += self._generated([request.args for request in requests[start : start + self.batch_size]])
        return texts

    def _generated(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
        prompts, limits, stops = [], [], []
        for context, asked in requests:
            options = normalize_gen_kwargs(dict(asked), self.max_gen_toks)
            limit = int(options.pop("max_gen_toks"))
            eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
            prompts.append(self.tok_encode(context, left_truncate_len=int(self.max_length) - limit))
            limits.append(limit)
            stops.append(handle_stop_sequences(options.pop("until", None), eos=eos))
        responses = generate_batch(self._responder, prompts, limits)
        return [
            postprocess_generated_text(generation=response.text, stop=stop, think_end_token=None)
            for response, stop in zip(responses, stops, strict=True)
        ]
