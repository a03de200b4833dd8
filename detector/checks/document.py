"""Writes the reference of the checks from the code: `python -m detector.checks.document [FILE]`, stdout by default."""

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pydantic.fields import FieldInfo

from core.model.finding import Dimension
from detector.catalogue import Group, catalogue, first_line
from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.port import CheckConfig, Need
from detector.config import DetectorConfig
from detector.rules.budgets import OVER_BUDGET, OverBudget
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS

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


_SESSIONS = """\
# Checks of sessions

These ask about the turns of a session together: the traces that name one session, in the order in which they started.
They are asked again with every trace of the session, and once more when it has been silent for
`detector.sessions.gap_s`; what no longer holds is withdrawn. Their findings are of low severity. What users say is read
in English, German, French, Spanish, Italian, Portuguese and Dutch, and in fixed phrases of Chinese and Japanese.

Their sections stand under `detector.sessions.checks`. With `detector.sessions.stitch: true` the traces of one user that
name no session make one as well; such a session's id begins with `stitched:`.
"""

_BASELINES = """\
# Baselines

What is compared with its own past, for each service, operation and model; keys that are still learning say nothing. The
settings stand under `detector.baselines` in [clearwatch.example.yaml](../deploy/clearwatch.example.yaml).
"""

_OWN = """\
# Checks of one's own

Rules, limits over windows, time budgets (the check `over_budget`) and checks by file or package:
[extending.md](extending.md).
"""


class _Told(Protocol):
    """A check that ships, of whatever it speaks."""

    @property
    def name(self) -> str: ...
    @property
    def dimension(self) -> Dimension: ...
    @property
    def needs(self) -> tuple[Need, ...]: ...
    @property
    def config(self) -> type[CheckConfig]: ...
    @property
    def summary(self) -> str: ...
    @property
    def conditions(self) -> str: ...


def page() -> str:
    """Return the whole page in Markdown."""
    baselines = [check for check in catalogue(DetectorConfig()) if check.group is Group.BASELINES]
    rows = [f"| `{check.name}` | {check.dimension} | {check.summary} | {_needs(check.needs)} |" for check in baselines]
    budgets = inspect.getdoc(OverBudget) or ""
    return "\n".join(
        (
            _HEAD,
            *_group(DEFAULT_CHECKS),
            _SESSIONS,
            *_group(DEFAULT_SESSION_CHECKS),
            _BASELINES,
            _table(rows),
            _OWN,
            f"## {OVER_BUDGET}\n\nA component takes longer than its time budget.\n\n{budgets}\n",
        )
    )


def _group(checks: Iterable[_Told]) -> Iterator[str]:
    """Yield a table of the checks, then a section of each."""
    checks = tuple(checks)
    yield _table(
        f"| [`{each.name}`](#{each.name}) | {each.dimension} | {first_line(each.summary)} | {_needs(each.needs)} |"
        for each in checks
    )
    for check in checks:
        yield _section(check)


def _table(rows: Iterable[str]) -> str:
    return "\n".join(("| check | dimension | what it finds | needs |", "|---|---|---|---|", *rows, ""))


def _section(check: _Told) -> str:
    fields = check.config.model_fields.items()
    keys = (
        f"| `{name}` | {_default(field)} | {' '.join((field.description or '').split())} |" for name, field in fields
    )
    table = "\n".join(("| key | default | |", "|---|---|---|", *keys))
    return f"## {check.name}\n\n{check.summary}\n\n{check.conditions}\n\n{table}\n"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple | list | frozenset | set):
        return ", ".join(f"`{each}`" for each in sorted(map(str, value))) or "none"
    return "none" if value in (None, {}) else str(value)


def _needs(needs: tuple[Need, ...]) -> str:
    return ", ".join(needs) or "–"


def main() -> int:
    """Write the page to the file named, or to stdout."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
