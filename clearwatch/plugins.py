"""Finds and imports the checks of third parties: entry points of the group `clearwatch.checks`, and files in a folder.

This is the edge: it reads files and runs what others wrote, once, at start. Whatever cannot be used is refused there,
all at once, each with its file or entry point and the reason.
"""

import difflib
import fnmatch
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic import ValidationError

from clearwatch.config_problems import Places, problems
from core.errors import PermanentError
from detector.checks.plugin import Plugin, make, name_of
from detector.checks.port import CheckConfig
from detector.config import RESERVED, DetectorConfig

GROUP: Final = "clearwatch.checks"
"""Entry points: the name is the check's, the value its class."""


class PluginError(PermanentError):
    """Checks that do not ship cannot be used: exit 2. `problems` holds one line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("checks refused:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


def load_plugins(config: DetectorConfig) -> tuple[Plugin, ...]:
    """Return the checks of installed packages, then those of `detector.checks_dir`, in the order of their names.

    What `detector.plugins` switches off is not made, and its package not imported. Raises PluginError; also for
    suppressions of a check that is neither among these nor ships.
    """
    loading = _Loading(config)
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        loading.take_entry_point(entry)
    if config.checks_dir:
        loading.take_folder(Path(config.checks_dir))
    return loading.finished()


class _Loading:
    def __init__(self, config: DetectorConfig) -> None:
        self._options: Mapping[str, Mapping[str, Any]] = config.plugins
        self._suppressions = config.suppressions
        self._taken = dict.fromkeys(RESERVED, "the checks that ship")
        self._taken |= {rule.name: "a rule of `detector.rules`" for rule in config.rules}
        self._taken |= {limit.name: "a limit of `detector.limits`" for limit in config.limits}
        self._seen: set[str] = set()
        self._made: list[Plugin] = []
        self._problems: list[str] = []

    def take_entry_point(self, entry: importlib.metadata.EntryPoint) -> None:
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
        origin = f"entry point {entry.name} of {package}"
        self._seen.add(entry.name)
        if self._is_off(entry.name):
            return
        given = self._tried(origin, entry.load, inside=entry.module)
        if given is not None:
            self._take(given, origin, wanted=entry.name)

    def take_folder(self, folder: Path) -> None:
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("_"))
        except OSError as exc:
            self._problems.append(f"detector.checks_dir: {folder} cannot be read: {exc.strerror}")
            return
        for path in paths:
            module = self._tried(f"file {path}", functools.partial(_module, path), inside=str(path))
            if module is None:
                continue
            classes = getattr(module, "CHECKS", None)
            if not isinstance(classes, tuple | list) or not classes:
                self._problems.append(f"file {path}: must list its classes of checks: CHECKS = (MyCheck,)")
                continue
            for given in classes:
                self._take(given, f"file {path}")

    def finished(self) -> tuple[Plugin, ...]:
        """Return what was made. Raises PluginError."""
        self._problems += [
            f"detector.plugins.{name}: there is no such check among {', '.join(sorted(self._seen)) or 'none'}"
            for name in self._options
            if name not in self._seen
        ]
        self._problems += self._idle_suppressions()
        if self._problems:
            raise PluginError(self._problems)
        return tuple(self._made)

    def _idle_suppressions(self) -> Iterator[str]:
        """Yield what suppressions name and no check bears: a slip there would hold nothing back, and say nothing."""
        known = {*self._taken, *self._seen}
        for number, suppression in enumerate(self._suppressions):
            for pattern in suppression.check:
                if not any(fnmatch.fnmatchcase(name, pattern) for name in known):
                    alike = difflib.get_close_matches(pattern, known, n=1)
                    meant = f"; was {alike[0]} meant?" if alike else ""
                    yield f"detector.suppressions.{number}.check: no check is named {pattern}{meant}"

    def _take(self, given: object, origin: str, *, wanted: str = "") -> None:
        try:
            name = name_of(given)
        except ValueError as exc:
            self._problems.append(f"{origin}: {exc}")
            return
        self._seen.add(name)
        if wanted and name != wanted:
            self._problems.append(f"{origin}: its check is named {name}; the entry point must be named so too")
            return
        if name in self._taken:
            self._problems.append(f"{origin}: the name {name} is taken by {self._taken[name]}")
            return
        self._taken[name] = origin
        if self._is_off(name):
            return
        try:
            self._made.append(make(given, self._options.get(name, {}), origin=origin))
        except ValidationError as exc:
            told = problems(exc.errors(), getattr(given, "config", CheckConfig), Places())
            self._problems += [f"detector.plugins.{name}.{problem} ({origin})" for problem in told]
        except ValueError as exc:
            self._problems.append(f"detector.plugins.{name}: {exc} ({origin})")
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - others wrote it: it is told, with what else is wrong
            self._problems.append(f"{origin}: {_told(exc)}")

    def _is_off(self, name: str) -> bool:
        return self._options.get(name, {}).get("enabled") in (False, "false", "False", "0")

    def _tried(self, origin: str, load: Callable[[], object], *, inside: str) -> Any:
        try:
            return load()
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - others wrote it: it is told, with what else is wrong
            self._problems.append(f"{origin}: {_told(exc, inside=inside)}")
            return None


def _module(path: Path) -> ModuleType:
    """Return the module of a file, imported once for each file. Raises what it raises."""
    resolved = path.resolve()
    name = f"clearwatch_checks_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # before it runs, as an import does: its classes may look for their module
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(exc: BaseException, *, inside: str = "") -> str:
    """Return an exception in one line, with the line of the file that raised it where that is known."""
    file = str(Path(inside).resolve()) if inside else ""
    lines = [f"line {at.lineno}" for at in traceback.extract_tb(exc.__traceback__) if at.filename == file]
    return f"{type(exc).__name__}: {exc}{f' ({lines[-1]})' if lines else ''}"
