"""The pieces of a streamed response are its text, and nothing is sent that is taken back."""

import pytest

from response_tuning.inference.text_stream import TextStream

WORDS = ["\n", " Hello", ",", " wor", "ld", ".", "\n\n", "###", " End", "\n"]


def decode(ids: list[int]) -> str:
    return "".join(WORDS[token] for token in ids)


def pieces_of(stream: TextStream, ids: list[int]) -> list[str]:
    pieces = []
    for token in ids:
        pieces.append(stream.add(token))
        if stream.is_stopped:
            return pieces
    return [*pieces, stream.finish()]


def test_the_pieces_together_are_the_stripped_text() -> None:
    pieces = pieces_of(TextStream(decode), list(range(10)))
    assert "".join(pieces) == decode(list(range(10))).strip()
    assert pieces[:4] == ["", "Hello", ",", " wor"]
    assert pieces[6] == "", "white space that may be the last is held back"


@pytest.mark.parametrize(
    ("stops", "text"),
    [
        (["### End"], "Hello, world."),
        (["world. "], "Hello, world.\n\n### End"),
        ([".\n\n#", "zzz"], "Hello, world"),
        (["Hello, world", "o, w"], "Hell"),
    ],
)
def test_a_stop_string_and_what_may_begin_one_are_not_sent(stops: list[str], text: str) -> None:
    stream = TextStream(decode, stops)
    pieces = pieces_of(stream, list(range(10)))
    assert "".join(pieces) == stream.text == text
    assert stream.is_stopped is (stops != ["world. "])


def test_half_a_character_is_not_sent() -> None:
    parts = [b"caf", b"\xc3", b"\xa9", b"\xf0\x9f"]

    def decode_bytes(ids: list[int]) -> str:
        return b"".join(parts[token] for token in ids).decode(errors="replace")

    assert pieces_of(TextStream(decode_bytes), [0, 1, 2, 3]) == ["caf", "", "é", "", "\N{REPLACEMENT CHARACTER}"]
