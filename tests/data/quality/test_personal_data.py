"""Personal data by patterns: what has a fixed form and a right checksum, and nothing that only looks like it."""

import pytest

from response_tuning.data.quality.personal_data import finder_of, personal_data_by_patterns


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to jo.doe+news@mail.provider.ch, please.", ["e-mail address"]),
        ("Call +41 41 123 45 67 or (415) 555-0132.", ["telephone number"]),
        ("Pay with 4111 1111 1111 1111.", ["payment card"]),
        ("To CH93 0076 2011 6238 5295 7.", ["bank account"]),
        ("The server is 8.8.8.8.", ["IP address"]),
        ("SSN 219-09-9999", ["social security number"]),
        ("Dear <PRESIDIO_ANONYMIZED_PERSON>,", ["redacted"]),
        ("Ask me@example.com, at 192.168.0.1 or 127.0.0.1.", []),
        ("4111 1111 1111 1112 is no card, and 0000 0000 0000 0000 neither.", []),
        ("In 2024-10-23, version 1.2.3.4.5 had 123 456 789 users; pi is 3.14159265358979.", []),
        ("CH93 0076 2011 6238 5295 8 has a wrong checksum.", []),
        ("def f(x): return x @ y", []),
    ],
)
def test_kinds_of_personal_data(text: str, kinds: list[str]) -> None:
    assert personal_data_by_patterns(text) == kinds


def test_nothing_is_looked_for_where_it_is_kept() -> None:
    assert finder_of("keep")("jo@mail.ch") == []
