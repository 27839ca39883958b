"""Fetching published files: checked, cached, mirrored, and clear about what is missing; against a real server."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from response_tuning.support.assets import ASSETS, MIRROR_VARIABLE, Asset, cache_folder, fetch
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

CONTENT = b'{"completion": "a"}\n'
TOKEN = "hf_notARealToken0123456789"


class _Publisher(BaseHTTPRequestHandler):
    """Publishes one file openly, and one for those with the token."""

    tokens_seen: list[str | None]

    def do_GET(self) -> None:
        self.tokens_seen.append(self.headers.get("Authorization"))
        allowed = self.path == "/open" or (self.path == "/gated" and self.tokens_seen[-1] == f"Bearer {TOKEN}")
        self.send_response(200 if allowed else 401 if self.path == "/gated" else 404)
        self.end_headers()
        if allowed:
            self.wfile.write(CONTENT)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a server, with an empty cache and no mirror."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    _Publisher.tokens_seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Publisher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asset(url: str, *, content: bytes = CONTENT, gated: bool = False) -> Asset:
    digest = hashlib.sha256(content).hexdigest()
    return Asset(path="set/rows.jsonl", url=url, sha256=digest, licence="CC0", gated=gated)


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(publisher: str) -> None:
    wanted = asset(f"{publisher}/open")
    path = fetch(wanted)
    assert path == cache_folder() / "set" / "rows.jsonl"
    assert path.read_bytes() == CONTENT
    assert fetch(wanted, offline=True) == path
    assert len(_Publisher.tokens_seen) == 1


def test_another_content_than_published_is_refused_and_not_kept(publisher: str) -> None:
    with pytest.raises(UserError, match=r"is not the file that was published[\s\S]*Nothing was kept"):
        fetch(asset(f"{publisher}/open", content=b"other"))
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]


def test_a_damaged_file_in_the_cache_is_named(publisher: str) -> None:
    path = fetch(asset(f"{publisher}/open"))
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"rows\.jsonl is not the file .* Delete it"):
        fetch(asset(f"{publisher}/open"))


def test_offline_names_the_missing_file_and_where_to_put_it(publisher: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(asset(f"{publisher}/open"), offline=True)
    assert str(cache_folder() / "set" / "rows.jsonl") in str(caught.value)
    assert f"{publisher}/open" in str(caught.value)
    assert MIRROR_VARIABLE in str(caught.value)
    assert not _Publisher.tokens_seen


def test_the_local_mirror_comes_first(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = tmp_path / "mirror" / "set" / "rows.jsonl"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(CONTENT)
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UserError, match="which is no folder"):
        fetch(asset(f"{publisher}/open"))
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    assert fetch(asset(f"{publisher}/open")) == mirrored
    assert not _Publisher.tokens_seen


def test_a_missing_page_and_a_dead_server_are_one_clear_message(publisher: str) -> None:
    with pytest.raises(UserError, match="answered with status 404"):
        fetch(asset(f"{publisher}/none"))
    with pytest.raises(UserError, match="is out of reach"):
        fetch(asset("http://127.0.0.1:9/closed"))


def test_the_access_token_goes_to_gated_files_alone_and_into_no_message_or_file(
    publisher: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_aRefusedToken")
    with pytest.raises(UserError, match="accept them, and set HF_TOKEN") as caught:
        fetch(asset(f"{publisher}/gated", gated=True))
    assert "hf_aRefusedToken" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    path = fetch(asset(f"{publisher}/gated", gated=True))
    path.unlink()
    fetch(asset(f"{publisher}/open"))
    assert _Publisher.tokens_seen == ["Bearer hf_aRefusedToken", f"Bearer {TOKEN}", None]
    captured = capfd.readouterr()
    assert "Token" not in captured.out + captured.err
    assert not [found for found in tmp_path.rglob("*") if found.is_file() and TOKEN.encode() in found.read_bytes()]


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_the_digests_of_the_published_files_are_those_of_real_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    there = [name for name, known in ASSETS.items() if (SHARED_DATA / known.path).is_file()]
    assert {
        "safety-tuned-llamas",
        "advbench",
        "harmbench",
        "malicious-instruct",
        "xstest",
        "ifeval",
        "mt-bench",
    } <= set(there)
    for name in there:
        assert fetch(ASSETS[name], offline=True) == SHARED_DATA / ASSETS[name].path
