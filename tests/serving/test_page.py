"""The page of ``rt serve`` in a real Chromium: by keyboard alone, without network, at two widths, light and dark.

``RT_SCREENSHOTS=FOLDER`` keeps pictures of it.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serving.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="the package playwright is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: "Browser", served: Served, *, width: int, dark: bool = False) -> "Page":
    """The page; a request to any other server fails the test."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url) if served.url not in request.url else None)
    page.on("console", lambda message: elsewhere.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: elsewhere.append(str(error)))
    page.goto(served.url)
    page.locator("#served", has_text="rt").wait_for()
    assert not [url for url in elsewhere if not url.startswith("data:")]
    return page


def keep_picture(page: "Page", name: str) -> None:
    if "RT_SCREENSHOTS" in os.environ:
        page.screenshot(path=Path(os.environ["RT_SCREENSHOTS"]) / f"{name}.png")


def answers(page: "Page") -> dict[str, str]:
    """The text of the newest answer of each run, once all are complete."""
    from playwright.sync_api import expect

    page.locator(".answer").first.wait_for()
    expect(page.locator(".answer[aria-busy=true]")).to_have_count(0, timeout=30_000)
    newest = page.locator(".turn").last.locator(".answer")
    return {
        str(answer.get_attribute("data-run")): str(answer.locator("p").first.text_content()) for answer in newest.all()
    }


@pytest.mark.parametrize("width", [1280, 390])
def test_every_run_answers_in_its_place_by_keyboard_alone(browser: "Browser", served: Served, width: int) -> None:
    page = opened(browser, served, width=width, dark=width == 390)
    page.keyboard.type("What is rain?")
    page.keyboard.press("Enter")
    assert answers(page) == {name: served.expected(name, "What is rain?") for name in served.runs}
    boxes = [box for answer in page.locator(".answer").all() if (box := answer.bounding_box())]
    side_by_side = len({round(box["y"]) for box in boxes}) == 1
    assert side_by_side is (width == 1280)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep_picture(page, f"answers-{width}")
    page.close()


def test_the_dialogue_is_kept_on_request_and_everything_is_reached_by_tab(browser: "Browser", served: Served) -> None:
    page = opened(browser, served, width=1280, dark=True)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    focused = []
    for _ in range(8):
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        page.keyboard.press("Tab")
    assert [name for name in focused if name != "stop"] == [
        *("SUMMARY", "system", "limit", "keep", "question", "send", "new-dialogue"),
        focused[-1],
    ]
    page.focus("#keep")
    page.keyboard.press("Space")
    page.focus("#system")
    page.keyboard.type("Be brief.")
    page.focus("#question")
    with page.expect_request("**/v1/chat/completions"):
        page.keyboard.type("Why?")
        page.keyboard.press("Enter")
    first = answers(page)
    page.keyboard.press("ArrowUp")
    assert page.input_value("#question") == "Why?"
    with page.expect_request(lambda request: '"model":"rt"' in (request.post_data or "")) as second:
        page.keyboard.press("Enter")
    messages = json.loads(second.value.post_data or "")["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == first["rt"]
    answers(page)
    keep_picture(page, "dialogue-1280")
    page.close()


def test_escape_stops_and_a_refusal_is_shown(browser: "Browser", served: Served) -> None:
    page = opened(browser, served, width=1280)
    page.focus("#question")
    page.evaluate("document.getElementById('limit').value = 900")
    page.keyboard.type("Say much.")
    page.keyboard.press("Enter")
    page.locator(".answer p", has_text=re.compile(".{5}")).first.wait_for()
    page.keyboard.press("Escape")
    answers(page)
    assert page.locator(".note", has_text="Stopped.").count() > 0
    page.evaluate("document.getElementById('question').value = 'rain '.repeat(3000)")
    page.keyboard.press("Enter")
    answers(page)
    assert "none is left for a response" in str(page.locator(".turn").last.locator(".wrong").first.text_content())
    page.close()


def test_text_of_a_model_or_a_user_is_never_markup(browser: "Browser", served: Served) -> None:
    page = opened(browser, served, width=1280)
    page.keyboard.type("<img src=x onerror=alert(1)><b>bold</b>")
    page.keyboard.press("Enter")
    answers(page)
    assert page.locator(".turn b, .turn img").count() == 0
    assert page.locator(".turn h2").text_content() == "<img src=x onerror=alert(1)><b>bold</b>"
    page.close()
