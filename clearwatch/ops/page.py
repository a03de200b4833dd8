"""The live page: one file, nothing loaded from elsewhere, and a policy that allows nothing else."""

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import Final


@functools.cache
def page_html() -> str:
    """Return the page; it holds no content of its own and asks the API for everything."""
    return (resources.files("clearwatch.ops") / "page.html").read_text(encoding="utf-8")


def _digest(tag: str) -> str:
    match = re.search(rf"<{tag}>(.*?)</{tag}>", page_html(), re.DOTALL)
    if match is None:
        raise RuntimeError(f"page.html has no <{tag}>")
    return base64.b64encode(hashlib.sha256(match.group(1).encode()).digest()).decode()


PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_digest('style')}'; script-src 'sha256-{_digest('script')}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
