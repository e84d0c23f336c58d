"""Chromium, and pages of which it is noted what they ask for and complain of."""

import contextlib
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found"),
]
# Without a sandbox it runs as root; the rest keeps it from asking for anything itself.
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextlib.contextmanager
def chromium():
    """A browser.

    Studies are trained before: Playwright has an event loop running, in which Orbax
    would start.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS)
        )
        yield browser
        browser.close()


def watched(context, url):
    """A page; `complaints` are what its console says, and what it asks for."""
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.complaints = []

    def note(request):
        if not request.url.startswith(("data:", "blob:", "file:")):
            page.complaints.append(request.url)

    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", note)
    page.goto(url)
    return page
