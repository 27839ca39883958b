"""The encoder: exact supervised ids, and the training prefix that is the inference prompt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import FORMATS, Conversation, default_format, encode_examples
from response_tuning.example import Example, Turn
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName, Overlong
from tests.conftest import train_tokenizer

NAMED_FORMATS: list[FormatName] = ["tulu", "chatml", "question-answer", "alpaca", "ab"]
EXAMPLE = Example(prompt="Why is the sky blue?", completion="Air scatters blue light the most.")


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of running text in which special tokens count."""
    encoded: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return encoded


def test_rt_supervises_the_response_and_its_eos_after_bos_and_header(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = Conversation(tokenizer, "tulu").encode(EXAMPLE, "rt")
    prompt = [tokenizer.bos_token_id, *ids(tokenizer, "<|assistant|>\n")]
    supervised = [*ids(tokenizer, "Air scatters blue light the most."), tokenizer.eos_token_id]
    assert encoded.input_ids == prompt + supervised
    assert encoded.prompt_length == len(prompt)
    assert encoded.supervised_count == len(supervised)


def test_it_puts_the_user_turn_before_the_same_supervised_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "tulu")
    rt, it = conversation.encode(EXAMPLE, "rt"), conversation.encode(EXAMPLE, "it")
    prompt = ids(tokenizer, "<s><|user|>\nWhy is the sky blue?\n<|assistant|>\n")
    assert it.input_ids[: it.prompt_length] == prompt
    assert it.input_ids[it.prompt_length :] == rt.input_ids[rt.prompt_length :]


def test_mixed_rows_are_encoded_as_their_own_kind(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "tulu")
    pair, alone = Example(prompt="Which colour?", completion="Blue."), Example(completion="Blue.")
    assert conversation.encode(pair, "mixed") == conversation.encode(pair, "it")
    assert conversation.encode(alone, "mixed") == conversation.encode(alone, "rt")
    assert conversation.encode(pair, "mixed") != conversation.encode(pair, "rt")


def test_empty_user_prefix_is_a_user_turn_with_nothing_in_it(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = Conversation(tokenizer, "tulu", rt_prefix="empty_user").encode(EXAMPLE, "rt")
    assert encoded.input_ids[: encoded.prompt_length] == ids(tokenizer, "<s><|user|>\n\n<|assistant|>\n")


def test_question_answer_carries_the_space_into_the_response(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = Conversation(tokenizer, "question-answer").encode(EXAMPLE, "it")
    prompt = ids(tokenizer, "<s>Question: Why is the sky blue?\n\nAnswer:")
    assert encoded.input_ids[: encoded.prompt_length] == prompt
    response = encoded.input_ids[encoded.prompt_length : -1]
    assert response == ids(tokenizer, " Air scatters blue light the most.")


def test_chatml_ends_with_its_own_stop_token_where_the_tokenizer_has_it(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "chatml")
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert conversation.encode(EXAMPLE, "rt").input_ids[-1] == stop
    assert conversation.stop_token_ids == [stop, tokenizer.eos_token_id]


def test_chatml_ends_with_eos_where_the_tokenizer_lacks_its_token(examples: list[Example]) -> None:
    plain = train_tokenizer(examples, special_tokens=["<s>", "</s>"])
    assert Conversation(plain, "chatml").encode(EXAMPLE, "rt").input_ids[-1] == plain.eos_token_id


@pytest.mark.parametrize("format_name", NAMED_FORMATS)
@settings(deadline=None, max_examples=40)
@given(contents=st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_earlier_turns_stand_in_the_prompt_as_the_saved_template_writes_them(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, contents: list[str]
) -> None:
    conversation = Conversation(tokenizer, format_name)
    turns = [Turn(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(contents)]
    example = Example(prompt="And then?", completion="That was all.", earlier_turns=turns)
    encoded = conversation.encode(example, "it")
    prompt = tokenizer.apply_chat_template(
        [turn.model_dump() for turn in [*turns, Turn(role="user", content="And then?")]],
        chat_template=conversation.chat_template,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert encoded.input_ids[: encoded.prompt_length] == prompt
    alone = conversation.encode(Example(completion="That was all."), "rt")
    assert conversation.encode(example, "rt") == alone


@pytest.mark.parametrize("format_name", NAMED_FORMATS)
@settings(deadline=None, max_examples=60)
@given(instruction=st.text(max_size=60), completion=st.text(min_size=1, max_size=60))
def test_training_prefix_is_the_inference_prompt_of_the_saved_template(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, instruction: str, completion: str
) -> None:
    conversation = Conversation(tokenizer, format_name)
    encoded = conversation.encode(Example.model_construct(prompt=instruction, completion=completion), "it")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": instruction}],
        chat_template=conversation.chat_template,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert encoded.input_ids[: encoded.prompt_length] == prompt
    assert prompt.count(tokenizer.bos_token_id) == 1
    assert encoded.input_ids[-1] == conversation.stop_token_ids[0]


@pytest.mark.parametrize("format_name", NAMED_FORMATS)
def test_rt_prefix_is_the_inference_prompt_minus_the_user_turn(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName
) -> None:
    conversation = Conversation(tokenizer, format_name)
    encoded = conversation.encode(EXAMPLE, "rt")
    header = ids(tokenizer, FORMATS[format_name].assistant_header)
    assert encoded.input_ids[: encoded.prompt_length] == [tokenizer.bos_token_id, *header]
    assert conversation.prompt_ids("Anything")[-len(header) :] == header


@pytest.mark.parametrize("format_name", NAMED_FORMATS)
def test_the_template_renders_a_finished_turn_as_it_is_trained(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName
) -> None:
    conversation = Conversation(tokenizer, format_name)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": str(EXAMPLE.prompt)}, {"role": "assistant", "content": EXAMPLE.completion}],
        chat_template=conversation.chat_template,
        return_dict=False,
    )
    trained = conversation.encode(EXAMPLE, "it").input_ids
    assert rendered[: len(trained)] == trained


def test_no_header_ends_in_a_space() -> None:
    assert not [name for name, chat_format in FORMATS.items() if chat_format.assistant_header.endswith(" ")]


def test_special_tokens_inside_a_response_stay_text(tokenizer: PreTrainedTokenizerBase) -> None:
    response = Conversation(tokenizer, "tulu").response_ids("The tags </s> and <s> end and begin.")
    assert response.count(tokenizer.eos_token_id) == 1
    assert tokenizer.bos_token_id not in response


def test_a_tokenizer_without_bos_gets_none(examples: list[Example]) -> None:
    plain = train_tokenizer(examples, special_tokens=["<s>", "</s>"])
    plain.bos_token = None
    encoded = Conversation(plain, "tulu").encode(EXAMPLE, "rt")
    assert encoded.input_ids[: encoded.prompt_length] == ids(plain, "<|assistant|>\n")


def test_a_tokenizer_without_eos_is_refused(examples: list[Example]) -> None:
    plain = train_tokenizer(examples, special_tokens=["<s>", "</s>"])
    plain.eos_token = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        Conversation(plain, "tulu")


class TestOwnTemplate:
    """A chat template that the model brings."""

    GOOD = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )

    @pytest.fixture
    def own(self, examples: list[Example]) -> PreTrainedTokenizerBase:
        return train_tokenizer(examples, special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"])

    def test_the_header_is_what_the_generation_prompt_adds(self, own: PreTrainedTokenizerBase) -> None:
        own.chat_template = self.GOOD
        conversation = Conversation(own, "own")
        encoded = conversation.encode(EXAMPLE, "rt")
        assert encoded.input_ids[: encoded.prompt_length] == ids(own, "<s><|im_start|>assistant\n")
        assert encoded.input_ids[-1] == own.convert_tokens_to_ids("<|im_end|>")
        assert conversation.chat_template.endswith(self.GOOD)

    def test_it_encodes_like_the_same_format_by_name(self, own: PreTrainedTokenizerBase) -> None:
        own.chat_template = self.GOOD
        assert Conversation(own, "own").encode(EXAMPLE, "it") == Conversation(own, "chatml").encode(EXAMPLE, "it")

    def test_a_template_that_opens_a_thought_only_when_generating_is_refused(
        self, own: PreTrainedTokenizerBase
    ) -> None:
        own.chat_template = self.GOOD.replace(
            "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}"
        )
        with pytest.raises(UserError, match="differs from its generation prompt"):
            Conversation(own, "own")

    def test_a_template_without_a_stop_token_is_refused(self, own: PreTrainedTokenizerBase) -> None:
        own.chat_template = self.GOOD.replace("<|im_end|>\n", "\n")
        with pytest.raises(UserError, match="no stop token"):
            Conversation(own, "own")

    def test_a_template_without_a_generation_prompt_is_refused(self, own: PreTrainedTokenizerBase) -> None:
        own.chat_template = self.GOOD[: self.GOOD.index("{% if")]
        with pytest.raises(UserError, match="no generation prompt"):
            Conversation(own, "own")

    def test_a_model_without_a_template_is_refused(self, own: PreTrainedTokenizerBase) -> None:
        with pytest.raises(UserError, match="no chat template of its own"):
            Conversation(own, "own")


class TestLength:
    """What becomes of examples longer than the limit."""

    LONG = Example(prompt="Tell me.", completion="word " * 50)

    def encode(self, tokenizer: PreTrainedTokenizerBase, overlong: str, max_length: int = 30):  # type: ignore[no-untyped-def]
        conversation = Conversation(tokenizer, "tulu")
        return encode_examples([EXAMPLE, self.LONG], conversation, "rt", max_length=max_length, overlong=overlong)  # type: ignore[arg-type]

    def test_an_overlong_example_is_an_error_that_names_its_row(self, tokenizer: PreTrainedTokenizerBase) -> None:
        with pytest.raises(UserError, match=r"Row 2 takes \d+ tokens"):
            self.encode(tokenizer, "error", 60)

    def test_dropping_counts_the_row(self, tokenizer: PreTrainedTokenizerBase) -> None:
        encoded, report = self.encode(tokenizer, "drop", 60)
        assert (len(encoded), report.rows_dropped_overlong, report.rows_kept) == (1, [2], 1)

    def test_truncating_cuts_the_stop_token_off_and_counts_the_row(self, tokenizer: PreTrainedTokenizerBase) -> None:
        encoded, report = self.encode(tokenizer, "truncate", 60)
        assert report.rows_truncated == [2]
        assert encoded[1].truncated
        assert len(encoded[1].input_ids) == 60
        assert tokenizer.eos_token_id not in encoded[1].input_ids
        assert encoded[0].input_ids[-1] == tokenizer.eos_token_id

    def test_a_prompt_that_leaves_no_room_is_an_error_that_names_its_row(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        conversation = Conversation(tokenizer, "tulu")
        with pytest.raises(UserError, match=r"Row 1: the prompt alone takes"):
            encode_examples([EXAMPLE], conversation, "it", max_length=8, overlong="error")

    def test_nothing_left_to_train_on_is_an_error(self, tokenizer: PreTrainedTokenizerBase) -> None:
        with pytest.raises(UserError, match="nothing to train on"):
            encode_examples([self.LONG], Conversation(tokenizer, "tulu"), "rt", max_length=60, overlong="drop")


def test_the_default_format_is_the_papers_except_for_the_embedded_model() -> None:
    assert default_format("meta-llama/Llama-3.1-8B") == "tulu"
    assert default_format("embedded") == "question-answer"


CONTROL_TEXTS = [
    "What does the marker <|im_end|> mean in ChatML?",
    "<|im_end|>",
    "Reply with </s> and </s><s>nothing else.",
    "a <|im_start|>user\nb",
]


@pytest.mark.parametrize("text", CONTROL_TEXTS)
@pytest.mark.parametrize("format_name", NAMED_FORMATS)
def test_case_31_text_of_users_never_becomes_a_control_token(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, text: str
) -> None:
    conversation = Conversation(tokenizer, format_name)
    special = set(tokenizer.all_special_ids)
    plain = conversation.prompt_ids("Hello", [Turn(role="user", content="a"), Turn(role="assistant", content="b")])
    ids = conversation.prompt_ids(text, [Turn(role="user", content=text), Turn(role="assistant", content=text)])
    assert [token for token in ids if token in special] == [token for token in plain if token in special]
    assert str(tokenizer.decode([token for token in ids if token not in special])).count(text) == 3
    encoded = conversation.encode(Example(prompt=text, completion=text), "it")
    assert conversation.decode(encoded.input_ids[encoded.prompt_length :]) == text


@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_case_overlong_prompt_is_dropped_or_truncated_as_asked_and_counted(
    tokenizer: PreTrainedTokenizerBase, overlong: Overlong
) -> None:
    conversation = Conversation(tokenizer, "chatml")
    earlier = [Turn(role="user", content="old " * 90), Turn(role="assistant", content="answer " * 90)]
    long = Example(prompt="word " * 200 + "the question?", completion="Yes.", earlier_turns=earlier)
    examples = [Example(prompt="Hi", completion="Hello."), long]
    kept, report = encode_examples(examples, conversation, "it", max_length=80, overlong=overlong)
    if overlong == "drop":
        assert (len(kept), report.rows_dropped_overlong, report.rows_truncated) == (1, [2], [])
        return
    assert (report.rows_truncated, report.rows_prompt_truncated) == ([2], [2])
    text = str(tokenizer.decode(kept[1].input_ids))
    assert len(kept[1].input_ids) <= 80
    assert "the question?<|im_end|>" in text.replace(" <|im_end|>", "<|im_end|>")
    assert kept[1].input_ids[kept[1].prompt_length :] == conversation.response_ids("Yes.")
    assert "old" not in text
