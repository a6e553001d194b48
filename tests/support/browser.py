"""A real browser for the pages that we write: a headless Chromium, where one is installed, driven by playwright."""

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PLAYS_UNASKED = "--autoplay-policy=no-user-gesture-required"
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def require_browser() -> None:
    """Skip, and say why, where there is no Chromium or nothing to drive it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed, in which the page would be used")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright, which drives Chromium, is not installed")


@contextlib.contextmanager
def open_browser(profile: Path, closed_network: bool = False) -> Iterator:
    """A page of a headless Chromium with a profile of its own, what it asked for (`asked`) and complained of (`complaints`).

    With `closed_network` it finds no machine but this one.
    """
    require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=[*OPTIONS, PLAYS_UNASKED, *([ONLY_HERE] if closed_network else [])],
            viewport={"width": 1100, "height": 900},
        )
        yield watch(context.pages[0])
        context.close()


def watch(page):
    """Note what a page asks for and complains of."""
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    return page
