"""The rater's page in a real Chromium: three raters at once, who reload, click twice, go back, and lose the server.

``RT_SCREENSHOTS=FOLDER`` keeps pictures of every page, at two widths, light and dark.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from response_tuning.people.store import Store, open_store
from tests.people.ratings import RUNS, make_rating, vote_all

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Response

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    *(
        pytest.mark.skipif(find_spec(package) is None, reason=f"the package {package} is not installed")
        for package in ("playwright", "starlette", "uvicorn", "evalica")
    ),
]

SCREENS = 60
WIDTHS = (390, 1280)


class Server:
    """``rt rate`` on a port that stays the same, so that pages find it again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start, and wait for the links."""
        words = ["rate", "--output", str(self._folder), "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "response_tuning", *words]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("administrator"):
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """As ``kill -9`` does."""
        self._process.kill()
        self._process.wait()

    def link(self, store: Store, rater: int) -> str:
        """The link of a rater."""
        return f"http://127.0.0.1:{self.port}/rate/{store.rater_tokens[rater]}"


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


class Session:
    """One rater in a browser context of their own, and all that it received."""

    def __init__(self, page: "Page", rater: int) -> None:
        self.page, self.rater, self.received = page, rater, [""]
        self.faults: list[str] = []
        page.on("response", self._receive)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._console(message.text) if message.type == "error" else None)

    def _console(self, text: str) -> None:
        if "net::ERR" not in text:  # the server was killed
            self.faults.append(text)

    async def _receive(self, response: "Response") -> None:
        try:
            self.received += [response.url.partition("/rate/")[0], json.dumps(await response.all_headers())]
            self.received.append((await response.body()).decode())
        except Exception as error:
            assert "losed" in str(error) or "No resource" in str(error) or "Protocol" in str(error), error

    async def at(self, position: int) -> int:
        """Wait until a screen is shown; returns the number of its prompt."""
        ready = f'main[aria-busy="false"] #screen[data-position="{position}"]:not([hidden])'
        await self.page.locator(ready).wait_for(timeout=60_000)
        return int((await self.page.locator("#prompt").inner_text()).removeprefix("prompt "))

    async def vote(self, *, keys: bool) -> None:
        """Rate the screen by keys or by clicks: the left response is better if its text ends in an even letter."""
        page = self.page
        if keys:
            for key in ("a", "k", "1", "Enter"):
                await page.keyboard.press(key)
            return
        await page.locator("#left-levels label").nth(0).click()
        await page.locator("#right-levels label").nth(2).click()
        await page.locator("#preferences label").nth(0).click()
        await page.locator("#save").dblclick()


async def rate_everything(session: Session, link: str, killed: asyncio.Event, server: Server) -> list[int]:
    """Go through all screens; returns the prompts in the order in which they were first shown."""
    page, shown = session.page, []
    await page.goto(link)
    for done in range(SCREENS):
        shown.append(await session.at(done))
        if done % 20 == 7:  # reload in the middle of a screen
            await page.keyboard.press("a")
            await page.reload()
            assert await session.at(done) == shown[-1]
        if done % 20 == 11:  # go back, change the vote, come back
            await page.keyboard.press("Backspace")
            assert await session.at(done - 1) == shown[-2]
            await page.keyboard.press("3")
            await page.keyboard.press("Enter")
            assert await session.at(done) == shown[-1]
        if done == 30 and session.rater == 0:  # the server dies while a vote is on its way
            server.kill()
            killed.set()
            await session.vote(keys=True)
            await page.locator("#message", has_text="not saved yet").wait_for()
            await asyncio.to_thread(server.start)
            continue
        if done == 40 and session.rater == 1:  # the connection is lost, and the answer to a vote with it
            await page.route("**/vote", _saved_but_not_answered, times=1)
        if done == 45 and session.rater == 2:
            await page.context.set_offline(True)
            await session.vote(keys=True)
            await page.locator("#message", has_text="not saved yet").wait_for()
            await page.context.set_offline(False)
            continue
        await session.vote(keys=done % 3 != 0)
    await page.locator("#finished:not([hidden])").wait_for()
    return shown


async def _saved_but_not_answered(route: Any) -> None:
    await route.fetch()
    await route.abort()


async def three_raters(store: Store, server: Server) -> list[tuple[Session, list[int]]]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        sessions = [Session(await (await browser.new_context()).new_page(), rater) for rater in range(3)]
        for each in sessions:
            each.page.set_default_timeout(120_000)
        killed = asyncio.Event()
        work = (rate_everything(each, server.link(store, each.rater), killed, server) for each in sessions)
        shown = await asyncio.gather(*work)
        assert killed.is_set()
        await browser.close()
    return list(zip(sessions, shown, strict=True))


def test_three_raters_lose_no_vote_and_learn_no_name(tmp_path: Path) -> None:
    make_rating(tmp_path, prompts=SCREENS, raters=3).close()
    store = open_store(tmp_path)
    with serving(tmp_path) as server:
        played = asyncio.run(three_raters(store, server))
    assert store.rows(
        "SELECT rater, count(*) FROM votes v JOIN assignments a ON a.id = v.assignment GROUP BY rater"
    ) == [(rater, SCREENS) for rater in range(3)]
    # Three times each of three raters changed a vote: the former ones are kept apart.
    assert store.rows("SELECT count(*) FROM history") == [(9,)]
    for session, shown in played:
        planned = store.rows("SELECT prompt FROM assignments WHERE rater = ? ORDER BY position", session.rater)
        assert shown == [prompt for (prompt,) in planned]
        assert session.faults == []
        received = "\n".join(session.received)
        assert "response 0 of letter" in received
        assert not [part for run in RUNS for part in (run, run.split("-")[1]) if part in received]
    store.close()


async def look(browser: "Browser", link: str, admin: str, width: int, *, dark: bool) -> list[str]:
    """Every page at one width: its serious faults by axe-core, where that is installed, and its pictures."""
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, faults = await context.new_page(), []

    async def checked(name: str) -> None:
        overflow = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if overflow > 0 and name != "administrator":
            faults.append(f"{name} at {width}: {overflow} pixels too wide")
        faults.extend(f"{name} at {width}, {scheme}: {fault}" for fault in await _axe(page))
        if "RT_SCREENSHOTS" in os.environ:
            folder = Path(os.environ["RT_SCREENSHOTS"])
            await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=name == "administrator")

    ready = page.locator('main[aria-busy="false"]')
    await page.goto(link)
    await ready.wait_for()
    await checked("first")
    await page.locator("summary").click()
    for key in ("a", "k", "1"):
        await page.keyboard.press(key)
    await checked("screen")
    await page.keyboard.press("p")
    await checked("paused")
    await page.locator("#resume").click()
    await page.keyboard.press("Enter")
    await page.locator("#explanation:not([hidden])").wait_for()
    await checked("explanation")
    await page.locator("#understood").click()
    for number in range(3):
        await ready.wait_for()
        for key in (*("a", "k", "1"), *(["x"] if number == 1 else []), "Enter"):
            await page.keyboard.press(key)
    await page.locator("#finished:not([hidden])").wait_for()
    await checked("finished")
    await page.goto(admin)
    await checked("administrator")
    await context.close()
    return faults


async def _axe(page: "Page") -> list[str]:
    """What axe-core finds that is serious or worse."""
    if find_spec("axe_playwright_python") is None:
        return []
    source = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    await page.evaluate(source)
    found = await page.evaluate("axe.run()")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:120]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def test_pages_fit_every_screen_and_are_accessible(tmp_path: Path) -> None:
    long = (
        "# A title\n\nA paragraph with `code` and **weight**.\n\n- one\n- two\n\n```\n"
        + "x" * 200
        + "\n```\n"
        + "word " * 300
    )
    texts = [[long, f"{'unbroken' * 40} {number}"] for number in range(4)]
    store = make_rating(tmp_path, responses=texts, training=1, raters=5, render="markdown", held=[2])
    vote_all_but(store, 4)
    with serving(tmp_path) as server:
        admin = f"http://127.0.0.1:{server.port}/admin/{store.admin_token}"

        async def look_at_all() -> list[str]:
            from playwright.async_api import async_playwright

            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                faults = []
                for rater, (width, dark) in enumerate((w, d) for w in WIDTHS for d in (False, True)):
                    faults += await look(browser, server.link(store, rater), admin, width, dark=dark)
                await browser.close()
                return faults

        faults = asyncio.run(look_at_all())
    assert faults == []
    store.close()


def vote_all_but(store: Store, raters: int) -> None:
    """Votes of the other raters, so that the administrator sees results."""
    with store.transaction() as connection:
        connection.execute("CREATE TEMP TABLE kept AS SELECT id FROM assignments WHERE rater < ?", (raters,))
    vote_all(store)
    with store.transaction() as connection:
        connection.execute("DELETE FROM votes WHERE assignment IN (SELECT id FROM kept)")
