"""The chat format: the one place that turns an example into token ids and supervised positions.

Training, probing, chat and serving all get their ids from a ``Conversation``, so the training prefix of a response is,
token for token, the prompt that the saved chat template renders at inference:

    instruction tuning                [BOS] user turn  + assistant header + response + stop
    response tuning, `none`           [BOS]            + assistant header + response + stop   (An & Kim 2024)
    response tuning, `empty_user`     [BOS] empty turn + assistant header + response + stop   (Hewitt et al. 2024)
                                      '------------- prompt -------------'   '-- supervised --'

Parts are tokenized separately and joined; nothing is ever searched for in the joined ids.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast, get_args

from response_tuning.chat_template import marked, read_mark, with_fixed_date
from response_tuning.example import Example, Turn, split_system
from response_tuning.support.errors import UserError
from response_tuning.support.options import EMBEDDED, FormatName, Method, Overlong, Prefix, RtKeeps, SystemPlace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "FORMATS",
    "ChatFormat",
    "Conversation",
    "EncodedExample",
    "EncodingReport",
    "default_format",
    "encode_examples",
    "recognised_format",
]

_PROBE_INSTRUCTION = "Which colour is the sky?"
_PROBE_RESPONSE = "Blue, on a clear day."


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """The fixed text around an instruction and a response.

    A header never ends in a space: ``lead`` makes the space part of the response's first token, as in running text.
    """

    before_instruction: str
    after_instruction: str
    assistant_header: str
    before_system: str | None = None
    """The text before a system message in a turn of its own. None: this format has no such turn."""
    after_system: str = ""
    lead: str = ""
    stop: str | None = None
    """The token that ends a response. Tokenizers without it use their end-of-sequence token."""
    after_stop: str = "\n"
    """The text between a finished response and the next turn."""
    preamble: str = ""
    """The text before the first turn, such as demonstrations; after BOS."""
    closing: str | None = None
    """The text that ends a response in place of a stop token, as demonstrations in plain text show it."""
    name: str = "text"
    """What reports call it; the formats of ``FORMATS`` are called by their names there."""


FORMATS: dict[FormatName, ChatFormat] = {
    # Tulu's tags, used by the RT paper (An & Kim 2024, appendix A; Wang et al. 2023).
    "tulu": ChatFormat(
        before_instruction="<|user|>\n",
        after_instruction="\n",
        assistant_header="<|assistant|>\n",
        before_system="<|system|>\n",
        after_system="\n",
    ),
    "chatml": ChatFormat(
        before_instruction="<|im_start|>user\n",
        after_instruction="<|im_end|>\n",
        assistant_header="<|im_start|>assistant\n",
        before_system="<|im_start|>system\n",
        after_system="<|im_end|>\n",
        stop="<|im_end|>",
    ),
    # Plain text that is frequent in pre-training data, for base models too small to learn new tags.
    "question-answer": ChatFormat(
        before_instruction="Question: ",
        after_instruction="\n\n",
        assistant_header="Answer:",
        lead=" ",
        after_stop="\n\n",
    ),
    # The headings of Taori et al. 2023, without their preamble.
    "alpaca": ChatFormat(
        before_instruction="### Instruction:\n",
        after_instruction="\n\n",
        assistant_header="### Response:\n",
        after_stop="\n\n",
    ),
    # Tags that say nothing about who speaks: an ablation of Tulu's (Hewitt et al. 2024, Table 5).
    "ab": ChatFormat(before_instruction="<|A|>\n", after_instruction="\n", assistant_header="<|B|>\n"),
}


def default_format(model_spec: str) -> FormatName:
    """The format that ``auto`` means: the paper's, except for the embedded model, where another measured better.

    See docs/log.md for the measurement.
    """
    return "question-answer" if model_spec == EMBEDDED else "tulu"


def recognised_format(template: object) -> tuple[FormatName, Prefix] | None:
    """The chat format and prefix that a saved chat template was trained in; None of a template of another origin."""
    if not isinstance(template, str):
        return None
    mark = read_mark(template)
    if mark is not None and mark[0] in get_args(FormatName) and mark[1] in get_args(Prefix):
        return cast(FormatName, mark[0]), cast(Prefix, mark[1])
    if _UNMARKED in template:  # saved by an earlier version
        names = [name for name, known in FORMATS.items() if json.dumps(known.before_instruction) in template]
        return (names[0], "none") if names else None
    return None


_UNMARKED = "This chat format knows the roles user and assistant alone."
"""What templates of versions without a mark contain, and no others."""


@dataclass(frozen=True)
class EncodedExample:
    """Token ids of one example: ``prompt_length`` ids of the prompt, followed by supervised ones only."""

    input_ids: list[int]
    prompt_length: int
    truncated: bool = False

    @property
    def supervised_count(self) -> int:
        """The number of tokens in the loss: the response and its stop token."""
        return len(self.input_ids) - self.prompt_length


@dataclass(frozen=True)
class _RenderedFormat:
    """A chat format as one tokenizer renders it: its texts, its stop token and its template."""

    prompt_text: Callable[[Sequence[Turn], str], str]
    """Renders a system message in a turn of its own ("" for none) and turns, followed by the assistant header."""
    header_text: str
    lead: str
    stop_token_id: int
    chat_template: str
    has_system_role: bool
    preamble: str = ""
    closing: str | None = None


class Conversation:
    """Encodes examples and prompts in one chat format for one tokenizer.

    Args:
        tokenizer: the model's.
        chat_format: the name of a format, or the format of a run whose prompt is a text of its own.
        rt_prefix: what response tuning trains responses after.
        system: where system messages go.
        rt_keeps: what response tuning keeps before the header, of rows that have it.

    Raises:
        UserError: the tokenizer has no end-of-sequence token, its own template has a training prefix that differs from
            its generation prompt, or the format has no system role and one is asked for.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        chat_format: FormatName | ChatFormat,
        *,
        rt_prefix: Prefix = "none",
        system: SystemPlace = "user",
        rt_keeps: RtKeeps = "nothing",
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise UserError("The tokenizer has no end-of-sequence token, so no response could ever end.")
        self.tokenizer = tokenizer
        self.format_name = chat_format.name if isinstance(chat_format, ChatFormat) else chat_format
        self.rt_prefix = rt_prefix
        self.system_role = system == "role"
        self.rt_keeps = rt_keeps
        self._format = _rendered(tokenizer, chat_format, system_role=self.system_role)
        if self.system_role and not self._format.has_system_role:
            named = [name for name, known in FORMATS.items() if known.before_system is not None]
            raise UserError(
                f"The chat format {self.format_name!r} has no system role here. Choose --format {' or '.join(named)}, "
                "or leave system messages at the head of the user's turn (--system user)."
            )
        self._control_tokens = _control_tokens(tokenizer)
        self._rt_prompt_ids = self._prefix_ids()

    @property
    def chat_template(self) -> str:
        """The Jinja template to save with the tokenizer; any server then renders the same prompts."""
        return marked(
            self._format.chat_template,
            format_name=self.format_name,
            prefix=self.rt_prefix,
            system_role=self.system_role,
        )

    @property
    def prefix_text(self) -> str:
        """The prefix that response tuning trains responses after, as text."""
        text = self.tokenizer.decode(self._rt_prompt_ids)
        assert isinstance(text, str)
        return text

    @property
    def stop_tokens(self) -> list[str]:
        """The tokens of ``stop_token_ids``; the first is trained after every response."""
        return [str(self.tokenizer.convert_ids_to_tokens(token)) for token in self.stop_token_ids]

    @property
    def lead(self) -> str:
        """The text between the assistant header and a response: a space, or nothing."""
        return self._format.lead

    @property
    def stop_token_ids(self) -> list[int]:
        """The ids that end generation: the trained stop token and the end-of-sequence token."""
        return list(dict.fromkeys([self._format.stop_token_id, self.tokenizer.eos_token_id]))

    @property
    def tag_ids(self) -> list[int]:
        """The ids with which the user tag and the assistant tag begin within a prompt."""
        prompt = self.prompt_ids(_PROBE_INSTRUCTION)
        tags = [prompt[prompt[0] == self.tokenizer.bos_token_id], *self._header_ids()[:1]]
        return list(dict.fromkeys(tags))

    def prompt_ids(
        self, instruction: str, earlier_turns: Sequence[Turn] = (), *, system: str | None = None
    ) -> list[int]:
        """The prompt for generation: [BOS], system turn, earlier turns, user turn and assistant header.

        Without a system role, the system text is put at the head of the user's first turn.
        """
        turns = _alternating([*earlier_turns, _user(instruction)])
        if system is not None and not self.system_role:
            turns = _with_head(turns, system)
        return self._ids_of(turns, system if system is not None and self.system_role else "")

    def _ids_of(self, turns: Sequence[Turn], system: str = "") -> list[int]:
        """The ids of a system turn ("" for none) and other turns, followed by the assistant header."""
        stripped = [Turn(role=turn.role, content=turn.content.strip()) for turn in turns]
        preamble, system = self._format.preamble, system.strip()

        def render(plain: Callable[[str], str]) -> str:
            hidden = plain(system)  # first, since it is rendered first
            turns = [Turn(role=turn.role, content=plain(turn.content)) for turn in stripped]
            text = self._format.prompt_text(turns, hidden)
            return text.replace(preamble, plain(preamble), 1) if preamble else text

        return self._rendered_ids(render, [preamble, system, *(turn.content for turn in stripped)])

    def control_tokens_in(self, text: str) -> list[str]:
        """The texts of control tokens that ``text`` contains. They are encoded as ordinary text everywhere here."""
        return [] if self._control_tokens is None else self._control_tokens.findall(text)

    def _rendered_ids(self, render: Callable[[Callable[[str], str]], str], texts: Sequence[str]) -> list[int]:
        """Encode rendered text. The texts of control tokens in ``texts`` are ordinary text, the template's are tokens.

        Args:
            render: returns the whole text, with its argument applied to each of ``texts``. A mark takes the place of
                each text of a control token, and what is between the marks is tokenized.
            texts: the parts that are not the template's.
        """
        if self._control_tokens is None or not any(map(self.control_tokens_in, texts)):
            return self._text_ids(render(str))
        used = "".join(texts)
        mark = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in used)
        found: list[str] = []

        def hide(match: re.Match[str]) -> str:
            found.append(match[0])
            return f"{mark}{len(found) - 1}{mark}"

        spaced = re.compile(f" ?(?:{self._control_tokens.pattern})")
        first, *parts = render(lambda text: spaced.sub(hide, text)).split(mark)
        ids = self._text_ids(first)
        for place, part in enumerate(parts):
            # Between two marks stands the number of a text, behind them the template's own text.
            is_text = place % 2 == 0
            text = found[int(part)] if is_text else part
            ids += self._continuation_ids(text, split_special_tokens=is_text) if text else []
        return ids

    def response_ids(self, completion: str, *, ended: bool = True) -> list[int]:
        """The supervised ids of a response: its text and, if it has ``ended``, the stop token or the closing text."""
        text = self._format.lead + completion.strip()
        if not ended:
            return self._continuation_ids(text)
        if self._format.closing is not None:
            return self._continuation_ids(text + self._format.closing)
        return [*self._continuation_ids(text), self._format.stop_token_id]

    def encode(self, example: Example, method: Method) -> EncodedExample:
        """Encode one example for training or scoring.

        Raises:
            UserError: instruction tuning of an example without a prompt.
        """
        prompt_text, turns, system = split_system(example)
        if method == "rt" or (method == "mixed" and example.prompt is None):
            keeps = self.rt_keeps == "system" and system is not None
            prompt = self._system_prefix_ids(system or "") if keeps else self._rt_prompt_ids
        elif example.prompt is None:
            raise UserError("Instruction tuning needs a prompt in every example.")
        elif self.system_role and system is not None:
            # A user turn that held nothing but the system text is empty now: it is left out.
            whole = [turn for turn in (*turns, _user(prompt_text or "")) if turn.content.strip()]
            prompt = self._ids_of(_alternating(whole), system)
        else:
            prompt = self.prompt_ids(example.prompt, example.earlier_turns or ())
        return EncodedExample([*prompt, *self.response_ids(example.completion)], len(prompt))

    def decode(self, response_ids: list[int]) -> str:
        """The text of generated ids, without special tokens and surrounding whitespace."""
        return self.generated_text(response_ids).strip()

    def generated_text(self, response_ids: list[int]) -> str:
        """The text of generated ids, without special tokens."""
        text = self.tokenizer.decode(response_ids, skip_special_tokens=True)
        assert isinstance(text, str)
        return text

    def _system_prefix_ids(self, system: str) -> list[int]:
        """What a response is trained after where response tuning keeps the system text: the prompt without a request.

        The user's turn of the prefix ``empty_user`` follows a system turn; without a system role it holds the text.
        """
        if not self.system_role:
            return self._ids_of([_user(system)])
        return self._ids_of([_user("")] if self.rt_prefix == "empty_user" else [], system)

    def _prefix_ids(self) -> list[int]:
        """What response tuning trains responses after: the ids that a whole prompt ends in, after its BOS."""
        whole = self._format.prompt_text([_user("")], "")
        if self.rt_prefix == "empty_user":
            return self._text_ids(whole)
        if self._format.preamble:
            start, preamble, header = (
                _leading_bos(self.tokenizer, whole),
                self._format.preamble,
                self._format.header_text,
            )
            return self._rendered_ids(lambda plain: start + plain(preamble) + header, [preamble])
        begins_with_bos = bool(_leading_bos(self.tokenizer, whole))
        return [*([self.tokenizer.bos_token_id] if begins_with_bos else []), *self._header_ids()]

    def _header_ids(self) -> list[int]:
        """The ids of the assistant header within a prompt.

        Tokenized by itself, a tokenizer may put a space before it that it has in no prompt.
        """
        header = self._format.header_text
        text = self._format.prompt_text([_user(_PROBE_INSTRUCTION)], "")
        whole, alone = self._text_ids(text), self._text_ids(header)
        if alone and whole[-len(alone) :] == alone:
            return alone
        begins = len(text) - len(header)
        if self.tokenizer.is_fast:
            offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
            first = next(place for place, (_, end) in enumerate(offsets) if end > begins)
            return whole[first:]
        before = self._text_ids(text[:begins])
        return whole[_common_length(whole, before) :]

    def _text_ids(self, text: str) -> list[int]:
        """Tokenize rendered text as ``apply_chat_template`` does: all special tokens are already in the text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _continuation_ids(self, text: str, *, split_special_tokens: bool = True) -> list[int]:
        """Tokenize text that continues other text, by default without interpreting any of it as a special token.

        Some SentencePiece tokenizers prepend a space to any text, but not after a newline.
        """
        anchor, anchored = (
            self.tokenizer(part, add_special_tokens=False, split_special_tokens=split_special_tokens).input_ids
            for part in ("\n", "\n" + text)
        )
        if anchored[: len(anchor)] == anchor:
            return list(anchored[len(anchor) :])
        options = {"add_special_tokens": False, "split_special_tokens": split_special_tokens}
        return list(self.tokenizer(text, **options).input_ids)


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two prompts have in common from the first on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def _control_tokens(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str] | None:
    """The texts that the tokenizer turns into control tokens; None if it has none."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    texts = sorted({*added, *map(str, tokenizer.all_special_tokens)} - {""}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts))) if texts else None


def _user(instruction: str) -> Turn:
    return Turn(role="user", content=instruction)


def _alternating(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbouring turns of one side as one turn, joined by a blank line, as the data reader and the template do."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            parts = [part for part in (joined.pop().content, turn.content) if part]
            turn = Turn(role=turn.role, content="\n\n".join(parts))
        joined.append(turn)
    return joined


def _with_head(turns: Sequence[Turn], system: str) -> list[Turn]:
    """The turns with a system message at the head of the user's first turn, as the data reader puts it."""
    first = next(place for place, turn in enumerate(turns) if turn.role == "user")
    return [*turns[:first], _user(f"{system}\n\n{turns[first].content}"), *turns[first + 1 :]]


def _leading_bos(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    bos = tokenizer.bos_token
    return bos if isinstance(bos, str) and text.startswith(bos) else ""


def _rendered(
    tokenizer: "PreTrainedTokenizerBase", chat_format: FormatName | ChatFormat, *, system_role: bool
) -> _RenderedFormat:
    if chat_format == "own":
        return _own_format(tokenizer)
    text = chat_format if isinstance(chat_format, ChatFormat) else FORMATS[chat_format]
    return _text_format(tokenizer, text, system_role=system_role)


def _text_format(
    tokenizer: "PreTrainedTokenizerBase", chat_format: ChatFormat, *, system_role: bool
) -> _RenderedFormat:
    stop_id = tokenizer.eos_token_id
    stop_text: str = tokenizer.eos_token
    if chat_format.stop is not None and chat_format.stop in tokenizer.get_vocab():
        stop_text = chat_format.stop
        stop_id = tokenizer.convert_tokens_to_ids(stop_text)
    bos = tokenizer.bos_token or ""
    ending = (stop_text if chat_format.closing is None else chat_format.closing) + chat_format.after_stop

    def turn_text(turn: Turn) -> str:
        if turn.role == "user":
            return chat_format.before_instruction + turn.content + chat_format.after_instruction
        return chat_format.assistant_header + chat_format.lead + turn.content + ending

    def prompt_text(turns: Sequence[Turn], system: str) -> str:
        lead = f"{chat_format.before_system}{system}{chat_format.after_system}" if system else ""
        return bos + chat_format.preamble + lead + "".join(map(turn_text, turns)) + chat_format.assistant_header

    return _RenderedFormat(
        prompt_text=prompt_text,
        header_text=chat_format.assistant_header,
        lead=chat_format.lead,
        stop_token_id=stop_id,
        chat_template=_jinja_template(
            chat_format, before=bos + chat_format.preamble, ending=ending, system_role=system_role
        ),
        has_system_role=chat_format.before_system is not None,
        preamble=chat_format.preamble,
        closing=chat_format.closing,
    )


def _jinja_template(chat_format: ChatFormat, *, before: str, ending: str, system_role: bool) -> str:
    def quote(text: str) -> str:  # a JSON string is a Jinja string, but for its escapes of two halves
        return json.dumps(text, ensure_ascii=False)

    user = f"{quote(chat_format.before_instruction)} + content + {quote(chat_format.after_instruction)}"
    system = f"{quote(chat_format.before_system or '')} + content + {quote(chat_format.after_system)}"
    of_system = f"{{% elif message['role'] == 'system' %}}{{{{ {system} }}}}" if system_role else ""
    header = quote(chat_format.assistant_header)
    answer = f"{header} + {quote(chat_format.lead)} + content + {quote(ending)}"
    return (
        f"{{{{ {quote(before)} }}}}"
        "{% for message in messages %}"
        "{% set content = message['content'] %}"
        f"{{% if message['role'] == 'user' %}}{{{{ {user} }}}}{of_system}{{% else %}}{{{{ {answer} }}}}{{% endif %}}"
        "{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {header} }}}}{{% endif %}}"
    )


def _own_format(tokenizer: "PreTrainedTokenizerBase") -> _RenderedFormat:
    """Derive the parts of a model's own template by rendering, and require its training prefix to be its prompt."""
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise UserError("The model has no chat template of its own. Choose a format by name, such as tulu.")
    template = with_fixed_date(template)

    def render(messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        assert isinstance(text, str)
        return text

    def prompt_text(turns: Sequence[Turn], system: str) -> str:
        lead = [{"role": "system", "content": system}] if system else []
        return render([*lead, *(turn.model_dump() for turn in turns)], add_generation_prompt=True)

    question = {"role": "user", "content": _PROBE_INSTRUCTION}
    answer = {"role": "assistant", "content": _PROBE_RESPONSE}
    prompt, turn = prompt_text([_user(_PROBE_INSTRUCTION)], ""), render([question], add_generation_prompt=False)
    finished = render([question, answer], add_generation_prompt=False)
    if not (prompt.startswith(turn) and len(prompt) > len(turn)):
        raise UserError("The model's own chat template adds no generation prompt, so there is no response header.")
    if not finished.startswith(prompt + _PROBE_RESPONSE):
        raise UserError(
            "The model's own chat template has a training prefix that differs from its generation prompt "
            f"({finished[len(turn) :]!r} does not begin with {prompt[len(turn) :]!r} and the response). "
            "Choose a format by name, such as chatml or tulu."
        )
    ending = tokenizer(finished[len(prompt + _PROBE_RESPONSE) :], add_special_tokens=False).input_ids
    if not ending or ending[0] not in tokenizer.all_special_ids:
        raise UserError("The model's own chat template puts no stop token after a response. Choose a format by name.")
    return _RenderedFormat(
        prompt_text=prompt_text,
        header_text=prompt[len(turn) :],
        lead="",
        stop_token_id=ending[0],
        chat_template=template,
        has_system_role=_renders_system(prompt_text, prompt[len(turn) :]),
    )


def _renders_system(prompt_text: Callable[[Sequence[Turn], str], str], header: str) -> bool:
    """Whether a template renders a system message in a turn of its own, with and without a question after it."""
    from jinja2 import TemplateError

    try:
        asked, alone = (prompt_text(turns, _PROBE_RESPONSE) for turns in ([_user(_PROBE_INSTRUCTION)], []))
    except (TemplateError, IndexError, KeyError):
        return False
    if alone.count(_PROBE_RESPONSE) != 1 or not alone.endswith(header):
        return False
    return asked.startswith(alone.removesuffix(header)) and _PROBE_INSTRUCTION in asked


@dataclass
class EncodingReport:
    """Counts of the rows and tokens of an encoded data set, saved as a run's ``data.json``."""

    method: Method
    max_length: int
    rows_read: int = 0
    rows_kept: int = 0
    rows_dropped_overlong: list[int] = field(default_factory=list)
    """Row numbers, from 1."""
    rows_truncated: list[int] = field(default_factory=list)
    """Row numbers, from 1; their responses have no stop token, or their prompts have lost their beginning."""
    rows_prompt_truncated: list[int] = field(default_factory=list)
    """Those of them whose prompt alone was too long."""
    prompt_tokens: int = 0
    supervised_tokens: int = 0
    longest_example_tokens: int = 0


def encode_examples(
    examples: Iterable[Example], conversation: Conversation, method: Method, *, max_length: int, overlong: Overlong
) -> tuple[list[EncodedExample], EncodingReport]:
    """Encode a data set. The report lists every example that is truncated or dropped.

    Raises:
        UserError: an example is too long and ``overlong`` is "error", or no example is left. The message names the row.
    """
    report = EncodingReport(method, max_length)
    kept: list[EncodedExample] = []
    for row, example in enumerate(examples, start=1):
        report.rows_read = row
        encoded = conversation.encode(example, method)
        if encoded.prompt_length >= max_length:
            if overlong == "error":
                raise UserError(
                    f"Row {row}: the prompt alone takes {encoded.prompt_length} tokens, which leaves no tokens for a "
                    f"response in --max-length {max_length}. Raise it, or choose --overlong drop or truncate."
                )
            shortened = (
                _with_shorter_prompt(example, conversation, max_length)
                if example.prompt is not None and method != "rt"
                else None
            )
            if overlong == "drop" or shortened is None:
                report.rows_dropped_overlong.append(row)
                continue
            encoded = conversation.encode(shortened, method)
            report.rows_truncated.append(row)
            report.rows_prompt_truncated.append(row)
        if len(encoded.input_ids) > max_length:
            if overlong == "error":
                raise UserError(
                    f"Row {row} takes {len(encoded.input_ids)} tokens, more than --max-length {max_length}. "
                    "Raise it, or choose --overlong drop or --overlong truncate."
                )
            if overlong == "drop":
                report.rows_dropped_overlong.append(row)
                continue
            # Truncation removes the stop token: the model must not learn to end in mid-sentence.
            encoded = EncodedExample(encoded.input_ids[:max_length], encoded.prompt_length, truncated=True)
            if row not in report.rows_prompt_truncated[-1:]:
                report.rows_truncated.append(row)
        kept.append(encoded)
        report.prompt_tokens += encoded.prompt_length
        report.supervised_tokens += encoded.supervised_count
        report.longest_example_tokens = max(report.longest_example_tokens, len(encoded.input_ids))
    report.rows_kept = len(kept)
    if not kept:
        raise UserError(f"No example fits into --max-length {max_length}: there is nothing to train on.")
    return kept, report


def _with_shorter_prompt(example: Example, conversation: Conversation, max_length: int) -> Example | None:
    """The example with as much of the end of its context as leaves tokens for the response, or half of ``max_length``.

    The oldest turns go first, then the beginning of the instruction. None if not even an empty instruction fits.
    """
    fits = max_length - min(len(conversation.response_ids(example.completion)), max_length // 2)
    prompt, turns = example.prompt or "", list(example.earlier_turns or ())
    while turns and len(conversation.prompt_ids(prompt, turns)) > fits:
        turns = turns[2:] if turns[0].role == "user" else turns[1:]
    low, high = 0, len(prompt)  # the fewest characters to cut, by bisection
    while low < high:
        middle = (low + high) // 2
        if len(conversation.prompt_ids(prompt[middle:], turns)) > fits:
            low = middle + 1
        else:
            high = middle
    if len(conversation.prompt_ids(prompt[low:], turns)) > fits:
        return None
    return example.model_copy(update={"prompt": prompt[low:], "earlier_turns": turns or None})
