"""The reading commands against a running ops server, as a process of their own would ask it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.test_ops_http import Kit
from tests.unit.records_kit import ISSUE, MLFLOW_ISSUE, change, event, filed, finding, issue, link, trace

pytestmark = pytest.mark.integration


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    made = Kit()
    await made.server.start()
    made.store.apply([change(trace()), change(event(issue(), link("f0000"))), change(filed())])
    made.store.apply([change(finding(f"f{i:04}", observed_at_ns=i), offset=i) for i in range(1_700)])
    yield made
    await made.close()


async def run(cwd: Path, *arguments: str, **environment: str) -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clearwatch",
        *arguments,
        cwd=cwd,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return process.returncode or 0, stdout, stderr.decode()


async def test_every_finding_is_exported_from_the_running_process(kit: Kit, tmp_path: Path) -> None:
    code, stdout, _ = await run(tmp_path, "export", "findings", "--ops", kit.server.url)
    rows = [msgspec.json.decode(line) for line in stdout.splitlines()]
    assert (code, len(rows), rows[0]["issue_id"]) == (0, 1_700, ISSUE)
    assert [row["finding_id"] for row in rows] == [f"f{i:04}" for i in range(1_700)]


async def test_the_configured_address_is_asked_without_being_named(kit: Kit, tmp_path: Path) -> None:
    listen = f"127.0.0.1:{kit.server.port}"
    code, stdout, _ = await run(tmp_path, "issue", "show", MLFLOW_ISSUE, "--json", CLEARWATCH__OPS__LISTEN=listen)
    found = msgspec.json.decode(stdout)
    assert (code, found["issue_id"], found["evidence_total"]) == (0, ISSUE, 1)


async def test_a_token_is_taken_from_the_configuration_and_missed_with_its_name(tmp_path: Path) -> None:
    kit = Kit(token="s3cret")
    await kit.server.start()
    try:
        code, _, stderr = await run(tmp_path, "status", "--ops", kit.server.url)
        assert (code, "CLEARWATCH__OPS__TOKEN" in stderr) == (1, True)
        code, stdout, _ = await run(tmp_path, "status", "--ops", kit.server.url, CLEARWATCH__OPS__TOKEN="s3cret")
        assert (code, b"1.2.3" in stdout) == (0, True)
    finally:
        await kit.close()


async def test_an_unknown_id_fails_with_the_servers_reason(kit: Kit, tmp_path: Path) -> None:
    code, stdout, stderr = await run(tmp_path, "issue", "show", "ffff", "--ops", kit.server.url)
    assert (code, stdout, stderr) == (1, b"", "clearwatch: no issue has the id 'ffff'\n")
