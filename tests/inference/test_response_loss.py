"""A model's loss by our own way against the model's own."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.example import Example
from response_tuning.inference.batch import collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.errors import UserError
from tests.architectures.small_models import small_model


@pytest.mark.parametrize("tied", [False, True])
def test_every_weights_gradient_equals_that_of_the_models_own_loss(
    tokenizer: PreTrainedTokenizerBase, examples: list[Example], tied: bool
) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            tie_word_embeddings=tied,
            initializer_range=0.2,
        )
    )
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    example = Conversation(tokenizer, "tulu").encode(examples[0], "it")
    ResponseLoss(model)(collate([example])).mean().backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    input_ids = torch.tensor([example.input_ids])
    labels = input_ids.masked_fill(torch.arange(input_ids.shape[1]) < example.prompt_length, -100)
    model(input_ids=input_ids, labels=labels).loss.backward()
    assert ours.keys() == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_response_loss_equals_the_models_own_on_supervised_tokens_alone(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    encoded = [Conversation(tokenizer, "tulu").encode(example, "it") for example in examples[:5]]
    losses = ResponseLoss(model)(collate(encoded)).split([example.supervised_count for example in encoded])
    for example, loss in zip(encoded, losses, strict=True):
        input_ids = torch.tensor([example.input_ids])
        labels = input_ids.masked_fill(torch.arange(input_ids.shape[1]) < example.prompt_length, -100)
        own = model(input_ids=input_ids, labels=labels).loss
        torch.testing.assert_close(loss.mean(), own, rtol=1e-5, atol=1e-5)


def test_gemma_2s_capped_logits_pass_the_check_and_match(
    tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=0.05,
    )
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config).eval().requires_grad_(False)
    ResponseLoss(model).check(collate([Conversation(tokenizer, "tulu").encode(examples[0], "it")]))


@pytest.mark.parametrize("name", ["granite", "cohere", "falcon_h1", "minicpm3", "hyperclovax", "phi", "gptj"])
def test_a_scaled_or_biased_head_passes_the_check_in_bf16_too(name: str) -> None:
    """The comparison is in fp32 whatever the weights are in, so that it needs no tolerance for rounding."""
    batch = collate([EncodedExample(list(range(3, 20)), prompt_length=4)])
    changes = {"logits_scaling": 3.0} if name == "hyperclovax" else {}
    loss = ResponseLoss(small_model(name, **changes).bfloat16())
    loss.check(batch)
    loss.check(batch)  # the model is left as it was


def test_a_single_token_that_differs_is_enough_to_refuse(model: LlamaForCausalLM) -> None:
    batch = collate([EncodedExample(list(range(3, 40)), prompt_length=1)])

    def nudge(_module: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        logits[0, 7, int(batch.targets[7])] += 0.01
        return logits

    model.get_output_embeddings().register_forward_hook(nudge)
    with pytest.raises(UserError, match="the loss of a token is"):
        ResponseLoss(model).check(batch)


def test_a_model_that_scales_its_logits_is_refused(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    batch = collate([Conversation(tokenizer, "tulu").encode(examples[0], "it")])
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _module, _inputs, logits: 3 * logits)
    with pytest.raises(UserError, match="logits in a way that is not supported"):
        ResponseLoss(model).check(batch)
