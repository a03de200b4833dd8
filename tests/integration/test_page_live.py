"""The live page in a real Chromium: shows, updates by itself, escapes, says when the connection is lost."""

import shutil
from collections.abc import AsyncIterator

import msgspec
import pytest
from playwright.async_api import Page, async_playwright, expect

from core.stops import StoppedPartition
from sinks.records.store import RecordStore
from tests.integration.test_ops_http import LETTER, Kit
from tests.unit.records_kit import ISSUE, NOW_S, change, event, filed, issue, link, trace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs_chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the live page is not tested; install chromium"),
]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = await browser.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("dialog", lambda dialog: errors.append(dialog.message))
        yield opened
        await browser.close()
        assert errors == []


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    made = Kit()
    await made.server.start()
    yield made
    await made.close()


def add_issue(records: RecordStore, title: str = "timeout in search") -> None:
    records.apply([change(trace()), change(event(issue(title=title), link("f1"))), change(filed())])


async def test_an_issue_appears_by_itself_with_its_link(kit: Kit, page: Page) -> None:
    await page.goto(kit.server.url)
    await expect(page.get_by_text("No traffic yet")).to_be_visible()
    await expect(page.locator("#connection")).to_have_text("live")
    add_issue(kit.store)
    row = page.locator(f'tr[data-issue="{ISSUE}"]')
    await expect(row).to_contain_text("timeout in search", timeout=10_000)
    await expect(row.locator("a")).to_have_attribute("href", filed().url)
    await expect(page.get_by_text("No traffic yet")).to_be_hidden()


async def test_counts_follow_without_a_reload(kit: Kit, page: Page) -> None:
    kit.telemetry.count("clearwatch.collector.spans.received", 5)
    await page.goto(kit.server.url)
    value = page.locator(".card").first.locator(".value")
    await expect(value).to_have_text("5")
    kit.telemetry.count("clearwatch.collector.spans.received", 1_000)
    kit.lag = {"records": 3}
    await expect(value).to_have_text("1,005", timeout=10_000)
    await expect(page.locator("#lag")).to_contain_text("3")


async def test_a_check_that_fails_is_shown_with_its_count(kit: Kit, page: Page) -> None:
    await page.goto(kit.server.url)
    await expect(page.locator("#failed-panel")).to_be_hidden()
    kit.telemetry.count("clearwatch.check.failures", 1_003, check="<i>mine</i>")
    await expect(page.locator("#failed")).to_contain_text("<i>mine</i>", timeout=10_000)
    await expect(page.locator("#failed")).to_contain_text("1,003 times")


async def test_a_stopped_partition_is_shown_with_what_to_do(kit: Kit, page: Page) -> None:
    await page.goto(kit.server.url)
    await expect(page.locator("#connection")).to_have_text("live")
    await expect(page.get_by_role("alert")).to_be_hidden()
    reason = "<b>record</b> of spans has schema 2: upgrade before reading on"
    kit.telemetry.stops.add(StoppedPartition(group="assemble", topic="spans", partition=3, offset=41, reason=reason))
    await expect(page.get_by_role("alert")).to_contain_text(f"spans[3]@41: {reason}", timeout=10_000)
    await expect(page.get_by_role("alert")).to_contain_text("1 partition stopped: nothing is lost")


async def test_content_is_text_and_links_only_lead_to_http(kit: Kit, page: Page) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    add_issue(kit.store, title=hostile)
    kit.store.apply([change(filed(url="javascript:alert(3)"), at_s=NOW_S + 1)])
    await page.goto(kit.server.url)
    row = page.locator(f'tr[data-issue="{ISSUE}"]')
    await expect(row).to_contain_text(hostile)
    assert await row.locator("img, script, a").count() == 0


async def test_a_lost_connection_is_said_and_found_again(kit: Kit, page: Page) -> None:
    await page.goto(kit.server.url)
    await expect(page.locator("#connection")).to_have_text("live")
    await page.context.set_offline(True)
    await expect(page.locator("#connection")).to_have_text("connection lost", timeout=10_000)
    await expect(page.get_by_role("alert")).to_contain_text("Connection lost")
    await page.context.set_offline(False)
    await expect(page.locator("#connection")).to_have_text("live", timeout=10_000)
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_the_token_is_used_and_leaves_the_address(page: Page) -> None:
    kit = Kit(token="s3cret")
    await kit.server.start()
    try:
        await page.goto(kit.server.url)
        await expect(page.get_by_role("alert")).to_contain_text("asks for")
        await page.goto(f"{kit.server.url}/?token=s3cret")
        await expect(page.locator("#connection")).to_have_text("live")
        assert "s3cret" not in page.url
    finally:
        await kit.close()


async def test_the_latest_dead_letters_are_shown_with_why_as_text(kit: Kit, page: Page) -> None:
    await page.goto(kit.server.url)
    await expect(page.locator("#connection")).to_have_text("live")
    await expect(page.locator("#letters-panel")).to_be_hidden()
    kit.telemetry.count("clearwatch.dead_letters", 7, stage="assemble", reason="x")
    hostile = msgspec.structs.replace(LETTER, error="<img src=x onerror=alert(1)> bad span")
    kit.store.letters.take([(msgspec.structs.replace(hostile, offset=n), int(NOW_S * 1000) + n) for n in range(7)])
    shown = page.locator("#letters .letter")
    await expect(shown).to_have_count(5, timeout=10_000)
    await expect(shown.first).to_contain_text("assemble: <img src=x onerror=alert(1)> bad span")
    await expect(shown.first).to_contain_text("spans:3:6:")
    await expect(page.locator("#letters-note")).to_have_text("7")
