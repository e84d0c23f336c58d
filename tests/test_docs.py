"""The documentation site builds without a warning and asks for nothing outside."""

import importlib.util
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mnistopt

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="needs the extra [docs]"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    found = subprocess.run(
        [*command, "-d", str(out / "trees"), "docs", str(out / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return out / "html"


def pages_of(site):
    """Returns the paths of all pages."""
    return [page for page in site.rglob("*.html") if "_static" not in page.parts]


class Links(HTMLParser):
    """Collects what a page loads, and where its links lead."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.linked, self.ids = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        if tag in ("script", "img", "source") and found.get("src"):
            self.loaded.append(found["src"])
        if tag == "link" and "stylesheet" in (found.get("rel") or ""):
            self.loaded.append(found["href"])
        if tag == "a" and found.get("href"):
            self.linked.append(found["href"])


def test_no_page_loads_anything_from_outside(site):
    pages = pages_of(site)
    assert len(pages) > 20
    for page in pages:
        for source in Links(page).loaded:
            assert not re.match("(https?:)?//", source), (page, source)
            path = source.partition("?")[0]
            assert source.startswith("data:") or (page.parent / path).exists(), source


def test_links_within_the_site_lead_somewhere(site):
    found = {page: Links(page) for page in pages_of(site)}
    for page, links in found.items():
        for link in links.linked:
            path, _, anchor = link.partition("#")
            if re.match(r"\w+:", link) or not path.endswith((".html", "")):
                continue
            target = (page.parent / path).resolve() if path else page.resolve()
            assert target.exists(), (page, link)
            if anchor and page.name not in ("genindex.html", "py-modindex.html"):
                assert anchor in found[target].ids, (page, link)


def test_every_public_name_and_every_flag_is_in_the_reference(site):
    api = Links(site / "api.html").ids
    for name in mnistopt.__all__:
        home = getattr(getattr(mnistopt, name), "__module__", "")
        places = {f"mnistopt.{name}", f"{home}.{name}", f"module-mnistopt.{name}"}
        assert places & set(api), name
    flags = (site / "made" / "flags.html").read_text()
    for flag in ("lr", "seeds", "patience", "corrupt", "epochs_scale", "compile_for"):
        assert f"--{flag}" in flags


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_a_browser_is_asked_for_files_of_the_site_only(site):
    sync_api = pytest.importorskip("playwright.sync_api")
    asked, failed = set(), set()
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("requestfailed", lambda request: failed.add(request.url))
        page.on("pageerror", lambda error: failed.add(str(error)))
        for path in pages_of(site):
            page.goto(path.as_uri())
        browser.close()
    own = (f"{site.as_uri()}/", "data:", "blob:")
    assert not failed and [url for url in asked if not url.startswith(own)] == []


def test_every_page_is_reached_from_the_first(site):
    first = {
        link.partition("#")[0]
        for page in ("index.html", "results.html")  # which links to the reports
        for link in Links(site / page).linked
    }
    pages = {str(page.relative_to(site)) for page in pages_of(site)}
    assert pages - {
        "index.html",
        "search.html",
        "genindex.html",
        "py-modindex.html",
    } <= {str(Path(link)) for link in first}
