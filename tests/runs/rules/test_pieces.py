"""Pieces of rules: a text names every token with exactly that surface, in vocabularies of all kinds."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from response_tuning.conversation import Conversation
from response_tuning.models.load import load_tokenizer
from response_tuning.runs.rules.pieces import format_marks, ids_of_piece
from response_tuning.runs.rules.rule_file import PUBLISHED, PiecesRule
from response_tuning.runs.rules.weigh import resolve_rules
from tests.runs.rules.vocabularies import LLAMA_2_IDS, llama_2_like
from tests.tokenizer_families import FAMILIES, TEXTS, make_tokenizer

GEMMA_IDS = [236820, 655, 236909, 564, 236777, 1191, 3689, 1374, 808, 753, 139, 997, 11722, 107, 236888]
PUBLISHED_WEIGHTS = [-4, -4, -4, -5, -5, -3, -5, -6, 1, 1, 1, 1, 1, 1, 1]


@pytest.fixture(scope="module")
def llama() -> PreTrainedTokenizerBase:
    return llama_2_like()


def test_the_published_rules_on_llama_2_are_the_published_ids_and_weights(llama: PreTrainedTokenizerBase) -> None:
    rules = resolve_rules(PUBLISHED, Conversation(llama, "tulu"))
    assert rules.pieces["pieces"].by_id == dict(zip(LLAMA_2_IDS.values(), PUBLISHED_WEIGHTS, strict=True))
    assert rules.pieces["pieces"].lacking == []
    assert rules.stop_ids == [2]


def test_a_byte_token_counts_only_where_no_other_token_has_its_text(llama: PreTrainedTokenizerBase) -> None:
    assert llama.convert_ids_to_tokens([63, 13]) == ["<0x3C>", "<0x0A>"]
    assert ids_of_piece(llama, "<") == [29966]
    assert ids_of_piece(llama, "\n") == [13]
    assert ids_of_piece(llama, "\t") == [3 + 9]


def test_a_text_that_is_no_token_has_no_id(llama: PreTrainedTokenizerBase) -> None:
    for text in ("I should", " What", "\n\n", "no such", "<s>", "<unk>", "<0x0A>", " "):
        assert ids_of_piece(llama, text) == ([29871] if text == " " else [])


def test_every_id_with_a_surface_is_found(tokenizer: PreTrainedTokenizerBase) -> None:
    copy = with_line_break_token(tokenizer)
    byte_level = copy.convert_tokens_to_ids("\u010a")
    added = copy.convert_tokens_to_ids("\n")
    assert byte_level != added
    assert ids_of_piece(copy, "\n") == sorted([byte_level, added])


def with_line_break_token(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    copy = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), bos_token="<s>", eos_token="</s>"
    )
    copy.add_tokens([AddedToken("\n", normalized=False)])
    return copy


def test_byte_level_spaces_are_spaces_and_bytes_are_decoded(tokenizer: PreTrainedTokenizerBase) -> None:
    for token in range(4, len(tokenizer)):
        text = str(tokenizer.decode([token]))
        if "\N{REPLACEMENT CHARACTER}" not in text:
            assert token in ids_of_piece(tokenizer, text), text


def test_a_continuing_piece_of_wordpiece_has_no_mark_and_a_word_has_a_space() -> None:
    vocabulary = {"[UNK]": 0, "a": 1, "we": 2, "##we": 3, "!": 4, "[SEP]": 5}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece(cleanup=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]", unk_token="[UNK]")
    assert ids_of_piece(tokenizer, " we") == [2]
    assert ids_of_piece(tokenizer, "we") == [3]


def test_marks_are_the_first_tokens_of_the_tags_of_the_format(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "question-answer")
    marks = format_marks(conversation)
    for tag in ("Question", "Answer"):
        first = str(tokenizer.decode([tokenizer(tag, add_special_tokens=False).input_ids[0]]))
        assert {first, f" {first}"} <= marks.keys()
        assert marks[first] == ids_of_piece(tokenizer, first) != []
    assert "<" not in marks


def test_a_special_token_is_a_mark_as_it_is(tokenizer: PreTrainedTokenizerBase) -> None:
    begins = tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert format_marks(Conversation(tokenizer, "chatml")) == {"<|im_start|>": [begins]}


def test_the_first_token_of_tulus_tags_is_a_mark_beside_the_published_ones(tokenizer: PreTrainedTokenizerBase) -> None:
    merged = with_line_break_token(tokenizer)
    merged.add_tokens([AddedToken("<|", normalized=False)])
    marks = format_marks(Conversation(merged, "tulu"))
    assert marks["<|"] == [merged.convert_tokens_to_ids("<|")]
    assert {"<", " <", "|"} <= marks.keys()


def test_a_text_with_a_weight_of_its_own_keeps_it_where_it_is_a_mark(llama: PreTrainedTokenizerBase) -> None:
    rules = {"pieces": PiecesRule(marks=-4.0, weights={"|": 2.0})}
    by_id = resolve_rules(rules, Conversation(llama, "tulu")).pieces["pieces"].by_id
    assert by_id == {29966: -4.0, 529: -4.0, 29989: 2.0}


def test_what_a_tokenizer_lacks_is_known(llama: PreTrainedTokenizerBase) -> None:
    resolved = resolve_rules({"mine": PiecesRule(weights={"!": 1.0, " As an AI": -9.0})}, Conversation(llama, "tulu"))
    assert resolved.pieces["mine"].lacking == [" As an AI"]
    assert resolved.pieces["mine"].by_id == {29991: 1.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_of_a_text_is_found_by_its_surface_in_every_family(family: str) -> None:
    tokenizer = make_tokenizer(family)
    for text in TEXTS:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in encoded.offset_mapping]
        for token, (start, end), before in zip(encoded.input_ids, encoded.offset_mapping, [0, *ends], strict=False):
            surface = text[start:end]
            # Offsets leave out a space that is part of a word, and give the space before a text to its first letter.
            spaced = {*ids_of_piece(tokenizer, surface), *ids_of_piece(tokenizer, f" {surface}")}
            is_added_space = before == 0 and token in ids_of_piece(tokenizer, " ")
            assert is_added_space or token == tokenizer.unk_token_id or token in spaced, (surface, text)


@pytest.mark.slow
def test_on_the_embedded_models_tokenizer_each_of_the_fifteen_pieces_is_one_id() -> None:
    rules = resolve_rules(PUBLISHED, Conversation(load_tokenizer("embedded"), "tulu"))
    assert rules.pieces["pieces"].by_id == dict(zip(GEMMA_IDS, PUBLISHED_WEIGHTS, strict=True))
    assert all(len(ids) == 1 for ids in rules.pieces["pieces"].ids.values())
