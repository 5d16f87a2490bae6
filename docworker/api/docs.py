"""`GET /docs`: one page of HTML that reads /openapi.json and lets one try what stands there; all in one file."""

import base64
import hashlib
import re
from functools import cache
from importlib import resources


@cache
def page() -> tuple[str, str]:
    """The page, and the Content-Security-Policy under which nothing runs but its own style and script."""
    html = resources.files(__package__).joinpath("docs.html").read_text("utf-8")
    style, script = (_hash_of(tag, html) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _hash_of(tag: str, html: str) -> str:
    """What a policy calls the one element of that name."""
    (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
