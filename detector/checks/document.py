"""Writes the reference of the checks from the code: `python -m detector.checks.document [FILE]`, stdout by default."""

import sys
from pathlib import Path
from typing import Any

from detector.checks.defaults import DEFAULT_CHECKS, DefaultCheck

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


def page() -> str:
    """Return the whole page in Markdown."""
    rows = [
        f"| [`{check.name}`](#{check.name}) | {check.dimension} | {_first_line(check)} | {_needs(check)} |"
        for check in DEFAULT_CHECKS
    ]
    table = "\n".join(("| check | dimension | what it finds | needs |", "|---|---|---|---|", *rows))
    return "\n".join((_HEAD, table, "", *(_section(check) for check in DEFAULT_CHECKS)))


def _section(check: DefaultCheck[Any]) -> str:
    fields = check.config.model_fields.items()
    keys = (f"| `{name}` | {field.default} | {' '.join((field.description or '').split())} |" for name, field in fields)
    table = "\n".join(("| key | default | |", "|---|---|---|", *keys))
    return f"## {check.name}\n\n{check.summary}\n\n{check.conditions}\n\n{table}\n"


def _first_line(check: DefaultCheck[Any]) -> str:
    return check.summary.split("\n", 1)[0].rstrip(".")


def _needs(check: DefaultCheck[Any]) -> str:
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
