"""Keep secrets out of messages, logs and written settings: servers repeat keys in their error messages.

Only what this program says itself is changed. Answers, data and results are never altered: a text that happens to
contain a key's value, or looks like a key, is a user's text.
"""

import os
import re
from typing import Annotated

from pydantic import PlainSerializer

__all__ = ["Url", "hide_secrets", "without_credentials"]

_NAMES = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|AUTH|SECRET|PRIVATE|ENCRYPTION)?KEYS?|(?:ACCESS|AUTH)?TOKENS?|SECRETS?|PASS|PW"
    r"|(?:\w*?)(?:PASSWORDS?|PASSWD|PASSPHRASE|PWD)|CREDENTIALS?)(?:_ID)?(?:_?\d+)?(?=_|$)"
)
"""Names of variables that hold a secret, by one of their words: OPENAI_API_KEY_2, AWS_ACCESS_KEY_ID, DB_PASSWD."""
_NO_SECRETS = frozenset({"PWD", "OLDPWD"})
_SHORTEST = 8
# What people give a local server that wants a key and checks none: words, without a digit or an upper-case letter.
_DUMMY = re.compile(r"[a-z]+(?:[-_ ][a-z]+)*")
_LONGEST_DUMMY = 24
_PASSWORD = re.compile(r"PASS|PWD|PASSWD|PW")
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s@\"']*(?::[^/?#\s\"']*)?@(?=[^\s@])")


def hide_secrets(message: str) -> str:
    """``message`` without the values of environment variables that hold secrets, and without passwords in URLs."""
    for name, value in sorted(os.environ.items(), key=lambda item: -len(item[1])):
        if _is_secret(name.upper(), value):
            message = message.replace(value, f"[{name}]")
    return without_credentials(message)


def without_credentials(text: str) -> str:
    """``text`` without the user and password of the URLs in it."""
    return _CREDENTIALS.sub("", text)


def _is_secret(name: str, value: str) -> bool:
    if name in _NO_SECRETS or len(value) < _SHORTEST or not _NAMES.search(name):
        return False
    is_dummy = len(value) <= _LONGEST_DUMMY and _DUMMY.fullmatch(value)
    return _PASSWORD.search(name) is not None or not is_dummy


Url = Annotated[str, PlainSerializer(without_credentials, return_type=str, when_used="json")]
"""The address of a server: written into settings and results without the user and password that it may hold."""
