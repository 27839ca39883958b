"""Take the pictures of docs/rating.md: a small rating, served, in a real Chromium.

python docs/make_rating_pictures.py
"""

import io
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from response_tuning.people.create_store import create_store
from response_tuning.people.plan import plan_assignments
from response_tuning.people.protocol import PROTOCOLS
from response_tuning.people.report.files import write_rating_report
from response_tuning.people.report.summary import rating_summary
from response_tuning.people.store import DATABASE, Store, Vote, open_store

FOLDER = Path(__file__).parent / "rating"
TOPICS = ("kettle", "bicycle", "window", "garden", "lamp", "teapot", "ladder", "basket", "mirror", "blanket")
ENDING = (" Ask a shop if you are not sure.", "", " A drop of oil helps, too, and so does a cover against the dust.")
"""So that lengths differ."""
RT = (
    "A {0} is easy to look after:\n\n- **Clean** it once a week with a soft cloth.\n- **Check** it for cracks before "
    "you use it.\n- **Store** it in a dry place.\n\nDone this way, your {0} should last for years."
)
IT = "Clean your {0} regularly, keep it dry, and repair small damage at once."
SIZES = {"wide": (1280, 860), "narrow": (390, 860)}


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (store, address), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        rater(browser, f"{address}/rate/{store.rater_tokens[3]}", "wide", "light")
        rater(browser, f"{address}/rate/{store.rater_tokens[4]}", "narrow", "dark")
        vote(store)
        page = opened(browser, "wide", "light")
        page.goto(f"{address}/admin/{store.admin_token}")
        keep(page, "administrator", full_page=True)
        report = write_rating_report(Path(folder), rating_summary(store, with_proxies=False))
        page.goto(report.as_uri())
        keep(page, "report", full_page=True)
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[tuple[Store, str]]:
    """A rating of five raters, and its address."""
    responses = [
        [RT.format(topic) + ENDING[place % 3], IT.format(topic) + ENDING[place % 2] * (place % 4)]
        for place, topic in enumerate(TOPICS)
    ]
    protocol = PROTOCOLS["an-kim"]
    create_store(
        folder / DATABASE,
        protocol=protocol,
        runs=["runs/rt", "runs/it"],
        prompts=[f"How do I look after a {topic}?" for topic in TOPICS],
        responses=responses,
        assignments=plan_assignments(
            responses, raters=5, overlap=1.0, pairs=True, seed=0, training=len(protocol.training), checks=2
        ),
        raters=5,
        training=protocol.training,
        checks=protocol.attention_checks[:2],
        settings={"render": "markdown", "hold_flagged": True},
    ).close()
    command = [sys.executable, "-m", "response_tuning", "rate", "--output", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    store = open_store(folder)
    try:
        yield store, process.stdout.readline().split(": ")[1].partition("/rate/")[0]
    finally:
        store.close()
        process.kill()
        process.wait()


def vote(store: Store) -> None:
    """What three raters with opinions of their own might say."""
    generator = random.Random(0)
    found = store.rows("SELECT id, prompt, left_run FROM assignments WHERE rater < 3 ORDER BY rater, position")
    for assignment, prompt, left in found:
        sample = store.sample_of(assignment)
        levels = [generator.choices((0, 1, 2), (6, 3, 1))[0], generator.choices((0, 1, 2), (4, 4, 2))[0]]
        levels = levels[::-1] if left else levels
        if sample is not None:
            levels = [0 if acceptable else 2 for acceptable in (sample.left_acceptable, sample.right_acceptable)]
        better = 0 if levels[0] < levels[1] else 2 if levels[0] > levels[1] else 1
        is_flagged = prompt == 7 and generator.random() < 0.5
        said = Vote(
            *levels, better, is_flagged, "Is the second step safe?" if is_flagged else "", generator.uniform(8, 40)
        )
        store.save(assignment, said, at="2026-11-25T12:00:00.000+00:00", hold=True)


def rater(browser: Browser, link: str, size: str, scheme: str) -> None:
    """Every page that a rater sees."""
    page = opened(browser, size, scheme)
    page.goto(link)
    ready(page)
    keep(page, f"first-{size}")
    page.locator("summary").click()
    for key in ("a", "k", "1", "Enter"):
        page.keyboard.press(key)
    page.locator("#explanation:not([hidden])").wait_for()
    keep(page, f"explanation-{size}")
    page.locator("#understood").click()
    for _ in range(2):
        ready(page)
        for key in ("a", "k", "1", "Enter"):
            page.keyboard.press(key)
        page.locator("#understood:visible").click()
    ready(page)
    for key in ("a", "j", "1"):
        page.keyboard.press(key)
    keep(page, f"screen-{size}")
    page.keyboard.press("p")
    keep(page, f"paused-{size}")
    page.locator("#resume").click()
    while page.locator("#finished").is_hidden():
        ready(page)
        for key in ("a", "j", "1", "Enter"):
            page.keyboard.press(key)
        ready(page)
    keep(page, f"finished-{size}")


def ready(page: Page) -> None:
    page.locator('main[aria-busy="false"]').wait_for()


def opened(browser: Browser, size: str, scheme: str) -> Page:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    return context.new_page()


def keep(page: Page, name: str, *, full_page: bool = False) -> None:
    """Save a picture with 64 colours, which is a third of the size."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=full_page))).convert("RGB")
    picture.quantize(64).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
