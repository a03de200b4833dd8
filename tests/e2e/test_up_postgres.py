"""`clearwatch up` with its records on PostgreSQL: killed, the server restarted, and nothing is lost or told twice."""

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e import traffic
from tests.e2e.harness import Up
from tests.http import CLIENT
from tests.integration.postgres_server import RunningPostgres

pytestmark = [pytest.mark.e2e, pytest.mark.needs_postgres, pytest.mark.timeout(600)]


def test_kills_of_up_and_of_the_server_lose_nothing(own_postgres: RunningPostgres, tmp_path: Path) -> None:
    sent = traffic.spans(turns=60)
    prompt, _ = traffic.batches(sent, size=64, late_ratio=0, duplicate_ratio=0, seed=1)
    up = Up(
        tmp_path / "data",
        CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S="0.5",
        CLEARWATCH__SINKS__RECORDS__URL=own_postgres.url,
    )
    with up.start():
        for number, body in enumerate(prompt):
            headers = {"content-type": "application/x-protobuf"}
            url = f"http://{up.http}/v1/traces"
            assert CLIENT.post(url, content=body, headers=headers).status_code == httpx.codes.OK
            if number == len(prompt) // 3:
                own_postgres.kill()
                own_postgres.start()
            if number == 2 * len(prompt) // 3:
                up.kill()
                up.start()
        live = up.wait_until_idle()
        findings = up.export("findings")
        assert up.stop() == 0
    assert (tmp_path / "data" / "records.sqlite3").exists() is False
    assert own_postgres.password not in up.log_tail()
    stored = up.run("status", "--json")
    assert stored.returncode == 0, stored.stderr
    assert json.loads(stored.stdout)["traces"] == live["traces"]
    exported = up.run("export", "findings").stdout.splitlines()
    assert len(exported) == len(findings) == len({row["finding_id"] for row in findings}) > 0
    assert live["traces"]["closed"] == len({span.context.trace_id for span in sent})
    assert live["dead_letters"] == 0
