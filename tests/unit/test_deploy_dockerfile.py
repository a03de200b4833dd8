"""deploy/Dockerfile by its structure: what a linter would ask for, and what our image promises."""

import re
import shlex

from tests.unit.deploy_kit import DEPLOY, OPS_PORT, ROOT


def _stages() -> list[list[tuple[str, str]]]:
    """Return the (instruction, rest) of each stage; comments out, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, lines)):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, rest))
    return found


STAGES = _stages()
FINAL = STAGES[-1]


def _only(instruction: str) -> str:
    (found,) = [rest for name, rest in FINAL if name == instruction]
    return found


def test_base_images_are_slim_and_of_a_minor_version() -> None:
    for stage in STAGES:
        image = stage[0][1].split()[0]
        assert re.fullmatch(r"python:3\.\d+-slim-\w+", image), image


def test_both_stages_have_the_same_python_for_the_environment_is_copied() -> None:
    assert len({stage[0][1].split()[0] for stage in STAGES}) == 1


def test_the_final_stage_installs_nothing() -> None:
    ran = " ".join(rest for name, rest in FINAL if name == "RUN")
    assert not re.search(r"\b(apt-get|apt|gcc|make|curl|wget|pip install|uv)\b", ran)
    copied = [rest for name, rest in FINAL if name in ("COPY", "ADD")]
    assert copied == ["--from=build /opt/clearwatch /opt/clearwatch"]


def test_packages_come_as_wheels_only() -> None:
    ran = " ".join(rest for name, rest in STAGES[0] if name == "RUN")
    (install,) = re.findall(r"uv pip install[^&]*", ran)
    assert "--only-binary :all:" in install


def test_it_runs_as_a_numeric_user_that_is_not_root() -> None:
    user, _, group = _only("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    after = [name for name, _ in FINAL][[name for name, _ in FINAL].index("USER") :]
    assert "RUN" not in after


def test_only_the_data_folder_is_written() -> None:
    assert _only("VOLUME") == '["/data"]'
    environment = dict(pair.split("=", 1) for pair in shlex.split(_only("ENV")))
    assert environment["CLEARWATCH_DATA_DIR"] == environment["HOME"] == "/data"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


def test_it_stops_on_sigterm_and_is_checked_at_healthz() -> None:
    assert _only("STOPSIGNAL") == "SIGTERM"
    assert _only("ENTRYPOINT") == '["clearwatch"]'
    check = _only("HEALTHCHECK")
    assert f"'127.0.0.1', {OPS_PORT}" in check
    assert "'/healthz'" in check
    assert str(OPS_PORT) in _only("EXPOSE").split()


def test_the_build_context_holds_what_is_copied_and_nothing_else() -> None:
    copied = {source.rstrip("/") for name, rest in STAGES[0] if name == "COPY" for source in rest.split()[:-1]}
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:].rstrip("/") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert kept == copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
