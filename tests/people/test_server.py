"""The raters' server: what it answers, what it refuses, and that nothing it sends names a run."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("evalica")
from starlette.testclient import TestClient

from response_tuning.people.store import Store
from response_tuning.people.web.guard import MOST_BYTES
from response_tuning.people.web.markdown import markdown_html
from response_tuning.people.web.server import make_app
from tests.people.ratings import RUNS, make_rating, vote_all

HOST = "http://127.0.0.1"
ORIGIN = {"Origin": HOST}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = make_rating(tmp_path, hold_flagged=True)
    yield opened
    opened.close()


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(make_app(store, allowed_hosts=["127.0.0.1"]), base_url=HOST)


def rater(store: Store, number: int = 0) -> str:
    return f"/rate/{store.rater_tokens[number]}"


def screen(client: TestClient, store: Store, query: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"{rater(store)}/screen{query}").json()
    return answer


def vote(client: TestClient, store: Store, **changes: Any) -> Any:
    """Vote on the next screen."""
    found = screen(client, store)["screen"]
    said = {"assignment": found["id"], "left_level": 0, "right_level": 2, "preference": 0, "seconds": 2.5}
    return client.post(f"{rater(store)}/vote", json=said | changes, headers=ORIGIN)


def test_screens_come_one_after_the_other(client: TestClient, store: Store) -> None:
    seen = []
    for done in range(4):
        answer = screen(client, store)
        assert (answer["done"], answer["total"], answer["screen"]["position"]) == (done, 4, done)
        seen.append(answer["screen"]["prompt"])
        assert vote(client, store).json()["done"] == done + 1
    assert screen(client, store)["screen"] is None
    planned = store.rows(
        "SELECT p.text FROM assignments a JOIN prompts p USING (prompt) WHERE rater = 0 ORDER BY position"
    )
    assert seen == [text for (text,) in planned]


def test_votes_can_be_seen_again_and_changed(client: TestClient, store: Store) -> None:
    first = screen(client, store)["screen"]["id"]
    vote(client, store)
    vote(client, store)
    back = screen(client, store, "?before=2")["screen"]
    assert (back["position"], back["vote"]["preference"], back["has_previous"]) == (1, 0, True)
    back = screen(client, store, "?before=1")["screen"]
    assert (back["id"], back["has_previous"]) == (first, False)
    assert vote(client, store, assignment=first, preference=1).json()["done"] == 2
    assert screen(client, store, "?position=0")["screen"]["vote"]["preference"] == 1
    assert screen(client, store, "?after=0")["screen"]["position"] == 1


def test_nobody_reads_or_votes_ahead(client: TestClient, store: Store) -> None:
    for query in ("?position=3", "?after=2", "?before=3"):
        assert screen(client, store, query)["screen"]["position"] == 0
    later = store.rows("SELECT id FROM assignments WHERE rater = 0 AND position = 2")[0][0]
    refused = vote(client, store, assignment=later)
    assert refused.status_code == 409 and "comes later" in refused.text
    assert store.rows("SELECT count(*) FROM votes") == [(0,)]


@pytest.mark.parametrize(
    "changes",
    [
        {"left_level": None},
        {"right_level": 3},
        {"preference": -1},
        {"left_level": True},
        {"left_level": 0.0},
        {"seconds": -1},
        {"seconds": "soon"},
        {"flagged": 1},
        {"comment": "x" * 4_001},
        {"comment": ["no", "text"]},
    ],
)
def test_votes_that_are_not_complete_are_refused(client: TestClient, store: Store, changes: dict[str, Any]) -> None:
    assert vote(client, store, **changes).status_code == 400
    assert store.rows("SELECT count(*) FROM votes") == [(0,)]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"assignment": NaN}', b"[" * 30_000, b"\xff"])
def test_bodies_that_are_no_vote_are_refused(client: TestClient, store: Store, body: bytes) -> None:
    assert client.post(f"{rater(store)}/vote", content=body).status_code in (400, 404)


def test_a_vote_on_anothers_screen_is_refused(client: TestClient, store: Store) -> None:
    theirs = store.rows("SELECT id FROM assignments WHERE rater = 1")[0][0]
    assert vote(client, store, assignment=theirs).status_code == 404


def test_a_flagged_screen_need_not_be_rated_and_is_held(client: TestClient, store: Store) -> None:
    prompt = screen(client, store)["screen"]["prompt"]
    assert vote(client, store, flagged=True, left_level=None, right_level=0).status_code == 200
    other = client.get(f"{rater(store, 1)}/screen").json()
    assert (other["total"], other["held"]) == (3, 1)
    page = client.get(f"/admin/{store.admin_token}").text
    assert "Waits for you" in page and prompt in page
    number = prompt.removeprefix("prompt ")
    decided = client.post(
        f"/admin/{store.admin_token}/decide",
        content=f"prompt={number}&state=released",
        headers=ORIGIN,
        follow_redirects=False,
    )
    assert decided.status_code == 303
    assert client.get(f"{rater(store, 1)}/screen").json()["held"] == 0
    for body in (b"prompt=0&state=deleted", b"prompt=x&state=released", b"", b"prompt=77&state=released"):
        assert client.post(f"/admin/{store.admin_token}/decide", content=body, headers=ORIGIN).status_code == 400


def test_training_screens_are_explained_after_the_vote(tmp_path: Path) -> None:
    store = make_rating(tmp_path, training=2, checks=1)
    client = TestClient(make_app(store, allowed_hosts=["*"]), base_url=HOST)
    first = screen(client, store)["screen"]
    assert first["is_training"] and "explanation" not in first
    assert "names two rivers" in vote(client, store).json()["explanation"]
    vote(client, store)
    others = []
    while (found := screen(client, store)["screen"]) is not None:
        others.append(found)
        assert vote(client, store).json()["explanation"] is None
    assert len(others) == 5
    # Nothing but its text tells an attention check from the other screens.
    assert {tuple(each) for each in others} == {tuple(others[0])}
    assert not any(each["is_training"] for each in others)
    store.close()


def test_unknown_tokens_and_paths_find_nothing(client: TestClient, store: Store) -> None:
    tokens = store.rater_tokens[0], store.admin_token
    for path in (
        *("/", "/rate", "/rate/", "/admin", "/admin/", "/static", "/static/", "/static/server.py", "/docs"),
        *(f"/rate/{tokens[1]}", f"/admin/{tokens[0]}", f"/rate/{tokens[0][:-1]}", f"/rate/{tokens[0]}x"),
        *("/static/..%2fserver.py", "/static/%2e%2e/guard.py", f"/rate/{'a' * 24}/screen", "/rate/%00/screen"),
    ):
        answer = client.get(path, follow_redirects=False)
        assert answer.status_code in (404, 307), path
        assert tokens[0] not in answer.text and tokens[1] not in answer.text
    assert client.get(f"/rate/{tokens[0]}/vote").status_code == 405


def test_tokens_are_compared_in_constant_time(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token of every rater is compared by ``secrets.compare_digest``, also after one has matched."""
    compared: list[tuple[bytes, bytes]] = []
    original = secrets.compare_digest

    def recorded(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return original(one, other)

    monkeypatch.setattr("response_tuning.people.store.secrets.compare_digest", recorded)
    tokens = store.rater_tokens
    client.get(f"/rate/{tokens[0]}")
    assert [other.decode() for _, other in compared] == tokens
    compared.clear()
    client.get("/admin/wrong")
    assert compared == [(b"wrong", store.admin_token.encode())]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_origins_are_refused(client: TestClient, store: Store, headers: dict[str, str]) -> None:
    found = screen(client, store)["screen"]
    said = {"assignment": found["id"], "left_level": 0, "right_level": 2, "preference": 0}
    assert client.post(f"{rater(store)}/vote", json=said, headers=headers).status_code == 403
    assert store.rows("SELECT count(*) FROM votes") == [(0,)]


def test_a_link_from_elsewhere_may_be_followed(client: TestClient, store: Store) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get(rater(store), headers=headers).status_code == 200


def test_names_that_point_here_are_refused(client: TestClient, store: Store) -> None:
    assert client.get(rater(store), headers={"Host": "elsewhere.example"}).status_code == 400


def test_large_bodies_are_refused_whatever_their_header_says(client: TestClient, store: Store) -> None:
    path = f"{rater(store)}/vote"
    assert client.post(path, content=b"x" * (MOST_BYTES + 1), headers=ORIGIN).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(80):
            yield b"x" * 1024

    assert client.post(path, content=chunks(), headers=ORIGIN).status_code == 413


def test_every_answer_has_the_same_headers(client: TestClient, store: Store) -> None:
    paths = (rater(store), f"{rater(store)}/screen", f"/admin/{store.admin_token}", "/static/rate.js", "/nothing")
    for path in paths:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert not {"etag", "last-modified", "set-cookie", "server"} & headers.keys()


def test_pages_have_no_inline_script_or_style(client: TestClient, store: Store) -> None:
    vote_all(store)
    for path in (rater(store), f"/admin/{store.admin_token}"):
        page = client.get(path).text
        assert not re.findall(r"<script(?![^>]*\bsrc=)", page)
        assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert not re.findall(r"(?:src|href)=\"(?!/static/|data:,)", page)


ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)> **bold** [link](javascript:alert(3)) ![i](http://e.example/i.png)"


def test_html_in_responses_is_shown_as_text(tmp_path: Path) -> None:
    store = make_rating(tmp_path, responses=[[ATTACK, f"other {ATTACK}"]], render="markdown")
    client = TestClient(make_app(store, allowed_hosts=["*"]), base_url=HOST)
    found = screen(client, store)["screen"]
    assert ATTACK in found["left"]  # the page assigns it to textContent
    for shown in (found["left_html"], found["right_html"]):
        assert "<strong>bold</strong>" in shown
        assert not re.findall(r"<(?!/?(?:p|strong)>)", shown)
    vote_all(store)
    page = client.get(f"/admin/{store.admin_token}").text
    assert "<script>alert" not in page and "<img" not in page
    store.close()


def test_markdown_is_formatted_without_html_links_or_images() -> None:
    text = "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```html\n<b>x</b>\n```\n\n- one\n\n"
    text += "<div>raw</div>\n\n<https://e.example> [r]\n\n[r]: http://e.example"
    html = markdown_html(text)
    assert "<h1>Title</h1>" in html and "<td>1</td>" in html and "<li>one</li>" in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html and "&lt;div&gt;raw&lt;/div&gt;" in html
    assert "<a" not in html and "<img" not in html and "href" not in html


def test_nothing_that_a_rater_receives_names_a_run(client: TestClient, store: Store) -> None:
    """Pages, scripts, answers and headers of a whole session, as text."""
    received = []
    base = rater(store)
    for path in (base, "/static/rate.js", "/static/rate.css", f"{base}/protocol"):
        answer = client.get(path)
        received += [answer.text, json.dumps(dict(answer.headers))]
    for _ in range(4):
        for answer in (client.get(f"{base}/screen"), vote(client, store), client.get(f"{base}/screen?before=9")):
            received += [answer.text, json.dumps(dict(answer.headers))]
    for other in ("/nothing", f"{base}x", f"{base}/screen?position=x"):
        received.append(client.get(other).text)
    whole = "\n".join(received)
    for run in RUNS:
        for part in (run, *run.split("/")[1:], *run.split("-")[1:]):
            assert part not in whole
    assert str(store.path.parent) not in whole
    keys = {key for text in received if text.startswith("{") for key in json.loads(text)}
    assert not {"run", "runs", "left_run", "right_run", "model"} & keys


def test_the_same_runs_answer_is_told_by_nothing(client: TestClient, store: Store) -> None:
    """All screens have the same fields and the same kinds of values, whichever run is on the left."""
    shapes, ids = set(), []
    for _ in range(4):
        found = screen(client, store)["screen"]
        shapes.add(tuple((name, type(value).__name__) for name, value in found.items() if name != "has_previous"))
        ids.append(found["id"])
        vote(client, store)
    assert len(shapes) == 1
    assert len({len(each) for each in ids}) == 1 and len(set(ids)) == 4


def test_the_administrator_sees_progress_results_and_comments(client: TestClient, store: Store) -> None:
    assert "There are no votes yet" in client.get(f"/admin/{store.admin_token}").text
    vote(client, store, comment="Both <b>dull</b>.")
    page = client.get(f"/admin/{store.admin_token}").text
    assert "Rater 1: 1 of 4 screens" in page and "Rater 2: 0 of 4 screens" in page
    assert "Both &lt;b&gt;dull&lt;/b&gt;." in page
    assert all(run in page for run in RUNS)


def test_a_server_loads_no_model_library() -> None:
    """Three raters' server should run beside a training, in a tenth of a gigabyte."""
    code = (
        "import sys, response_tuning.people.rate, response_tuning.people.web.serve_rating, "
        "response_tuning.people.web.server; from response_tuning.people.rating_config import RateConfig; RateConfig(); "
        "print({'torch', 'transformers', 'pandas'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout.strip() == "set()", run.stderr
