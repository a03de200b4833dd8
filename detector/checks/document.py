"""Writes the reference of the checks from the code: `python -m detector.checks.document [FILE]`, stdout by default."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from detector.checks.defaults import DEFAULT_CHECKS, DefaultCheck
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS, DefaultSessionCheck

_HEAD = """\
# Checks

<!-- Written by `python -m detector.checks.document docs/checks.md`; change the docstrings, not this page. -->

A check asks one question of every trace, without a model. Its answer is *found*, *clear*, *suspicious* (nothing it can
prove, but worth a judge) or *unknown* (what it needs was not sent: absent is not empty). Findings with the same
fingerprint (routing key, service, check, target, error type, masked message) are one issue.

What a check *needs* beyond times, kinds and outcomes of spans stands in the table: where a client does not send it, the
check sees less, or answers *unknown*. `clearwatch checks` shows the same with what was answered so far.

Each check has a section under `detector.checks` in `clearwatch.yaml`, named as the check is:

```yaml
detector:
  checks:
    repeated_tool_call: {min_repeats: 4}
    missing_root: {enabled: false}
```
"""

_SESSIONS_HEAD = """\
# Checks of sessions

These ask about the turns of a session together: the traces that name one session, in the order in which they started.
They are asked again with every trace of the session, and once more when it has been silent for
`detector.sessions.gap_s`; what no longer holds is withdrawn. Their findings are of low severity. What users say is read
in English, German, French, Spanish, Italian, Portuguese and Dutch, and in fixed phrases of Chinese and Japanese.

Their sections stand under `detector.sessions.checks`. With `detector.sessions.stitch: true` the traces of one user that
name no session make one as well; such a session's id begins with `stitched:`.
"""

_Default: TypeAlias = DefaultCheck[Any] | DefaultSessionCheck[Any]


def page() -> str:
    """Return the whole page in Markdown."""
    return "\n".join(
        (
            *(_HEAD, _table(DEFAULT_CHECKS), "", *(_section(check) for check in DEFAULT_CHECKS)),
            *(
                _SESSIONS_HEAD,
                _table(DEFAULT_SESSION_CHECKS),
                "",
                *(_section(check) for check in DEFAULT_SESSION_CHECKS),
            ),
        )
    )


def _table(checks: Iterable[_Default]) -> str:
    rows = [
        f"| [`{check.name}`](#{check.name}) | {check.dimension} | {_first_line(check)} | {_needs(check)} |"
        for check in checks
    ]
    return "\n".join(("| check | dimension | what it finds | needs |", "|---|---|---|---|", *rows))


def _section(check: _Default) -> str:
    fields = check.config.model_fields.items()
    keys = (f"| `{name}` | {field.default} | {' '.join((field.description or '').split())} |" for name, field in fields)
    table = "\n".join(("| key | default | |", "|---|---|---|", *keys))
    return f"## {check.name}\n\n{check.summary}\n\n{check.conditions}\n\n{table}\n"


def _first_line(check: _Default) -> str:
    return check.summary.split("\n", 1)[0].rstrip(".")


def _needs(check: _Default) -> str:
    return ", ".join(check.needs) or "–"


def main() -> int:
    """Write the page to the file named, or to stdout."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
