"""Full disks and logs, dead sinks, bad input, signals, newer files: refusals and counters, no crash, no loss."""

import contextlib
import gzip
import json
import random
import re
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tests.e2e.failing import (
    MIB,
    PROTOBUF,
    QUICK,
    FlakyRoute,
    answers,
    are_told,
    eventually,
    expect_each_found,
    fill,
    in_threads,
    insist,
    issues_of,
    metric,
    post,
    small_disk,
    trace_body,
    trace_id_of,
    trace_request,
)
from tests.e2e.harness import Up
from tests.integration.mlflow_server import RunningMlflow

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
JSON = {"content-type": "application/json"}


# -- disks


def test_a_full_disk_is_refused_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24 * MIB) as disk, running_on(disk, tmp_path).start() as up:
        names = [f"before-{n}" for n in range(5)]
        for name in names:
            assert post(up, trace_body(name)).status_code == httpx.codes.OK
        up.wait_until_idle()
        filler = fill(disk)
        refused = ""
        for number in range(400):  # what is free inside the files is used up first
            name = f"during-{number}"
            answer = post(up, trace_body(name, pad_bytes=40_000))
            names.append(name)
            if answer.status_code != httpx.codes.OK:
                refused = name
                break
        assert refused, "the disk never filled"
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert int(answer.headers["retry-after"]) >= 1
        assert Status.FromString(answer.content).code == grpc.StatusCode.UNAVAILABLE.value[0]
        code, details = refused_by_grpc(up, trace_body(refused, pad_bytes=40_000))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert any(detail.Is(RetryInfo.DESCRIPTOR) for detail in details)
        assert up.status()["dropped"]["request_http_503"] >= 1
        assert metric(up, "clearwatch_collector_requests_total", transport="http", status="503") >= 1
        assert metric(up, "clearwatch_collector_requests_total", transport="grpc", status="UNAVAILABLE") >= 1
        filler.unlink()
        insist(up, trace_body(refused, pad_bytes=40_000))
        status = up.wait_until_idle()
        assert status["traces"]["closed"] == len(names)
        assert status["dead_letters"] == 0
        expect_each_found(up, names)
        assert up.stop() == 0


def test_records_that_cannot_be_written_delay_only_what_is_shown(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        url = f"sqlite:///{disk / 'records.sqlite3'}"
        with Up(tmp_path / "data", **QUICK, CLEARWATCH__SINKS__RECORDS__URL=url).start() as up:
            names = ["before"]
            insist(up, trace_body("before"))
            up.wait_until_idle()
            filler = fill(disk)
            number = 0
            while not metric(up, "clearwatch_sink_failed_total", sink="records"):
                number += 1
                names.append(f"during-{number}")
                assert post(up, trace_body(names[-1])).status_code == httpx.codes.OK
                assert number < 3_000, "the disk never filled"
            eventually(
                lambda: (
                    metric(up, "clearwatch_findings_total") == len(names)
                    and not any(metric(up, "clearwatch_stage_lag", group=stage) for stage in ("assemble", "issues"))
                ),
                up,
            )
            assert metric(up, "clearwatch_stage_lag", group="records") > 0
            filler.unlink()
            up.wait_until_idle()
            expect_each_found(up, names)
            assert up.stop() == 0


# -- the log's bound


def test_a_full_log_is_refused_until_the_stages_have_caught_up(tmp_path: Path) -> None:
    names = [f"large-{n}" for n in range(32)]
    refusals: list[httpx.Response] = []
    with Up(tmp_path / "data", **QUICK, CLEARWATCH__LOG__MAX_BYTES=str(4 * MIB)).start() as up:

        def client(number: int) -> None:
            for name in names[number::8]:
                refusals.extend(insist(up, trace_body(name, pad_bytes=600_000)))

        in_threads(client, 8)()
        assert refusals, "the log never filled"
        assert {r.status_code for r in refusals} == {httpx.codes.SERVICE_UNAVAILABLE}
        assert all(int(r.headers["retry-after"]) >= 1 for r in refusals)
        status = up.wait_until_idle()
        assert status["dropped"]["request_http_503"] == len(refusals)
        assert metric(up, "clearwatch_log_deleted_total", topic="spans", reason="size") > 0
        assert metric(up, "clearwatch_log_bytes") <= 4 * MIB
        assert status["spans"]["received"] == 2 * len(names)
        assert status["dead_letters"] == 0
        expect_each_found(up, names)
        assert up.stop() == 0


def test_mlflow_dead_for_longer_than_the_log_keeps_gets_what_is_left(
    tmp_path: Path, mlflow_server: RunningMlflow
) -> None:
    with FlakyRoute(mlflow_server.port) as route:
        bound = {"CLEARWATCH__LOG__MAX_BYTES": str(4 * MIB)}
        with Up(tmp_path / "data", mlflow_url=route.url, **QUICK, **bound).start() as up:
            lost = [f"lost-{n}" for n in range(12)]
            for name in lost:  # one after the other: this is not about refusals
                insist(up, trace_body(name, pad_bytes=600_000))
            eventually(lambda: metric(up, "clearwatch_findings_total") == len(lost), up)
            eventually(lambda: metric(up, "clearwatch_log_deleted_total", topic="traces", reason="size_unread") > 0, up)
            eventually(lambda: are_told(up, len(lost)), up)
            expect_each_found(up, lost)
            route.open()
            eventually(lambda: up.status()["dropped"].get("retention_mlflow-spans", 0) > 0, up)
            insist(up, trace_body("kept", service="late"))
            # links of the traces that were lost go on waiting for them for some minutes: nobody waits for those here
            eventually(lambda: f"tr-{trace_id_of('kept')}" in linked(mlflow_server), up)
            assert up.stop() == 0


# -- MLflow away


def test_mlflow_away_at_first_and_again_later_costs_nothing_but_time(
    tmp_path: Path, mlflow_server: RunningMlflow
) -> None:
    with FlakyRoute(mlflow_server.port) as route, Up(tmp_path / "data", mlflow_url=route.url, **QUICK).start() as up:
        insist(up, trace_body("away-first", service="away"))
        eventually(lambda: are_told(up, 1), up)
        expect_each_found(up, ["away-first"])
        route.open()
        up.wait_until_idle()
        route.close()
        insist(up, trace_body("away-again", service="away"))
        eventually(lambda: are_told(up, 2), up)
        expect_each_found(up, ["away-first", "away-again"])
        assert metric(up, "clearwatch_sink_failed_total", reason="unavailable") > 0
        route.open()
        status = up.wait_until_idle()
        assert status["dead_letters"] == 0
        assert not status["dropped"]
        (issue,) = issues_of(up)
        assert up.stop() == 0
    of_issue = sorted(linked(mlflow_server, issue["mlflow_issue_id"]))
    assert of_issue == sorted(f"tr-{trace_id_of(name)}" for name in ("away-first", "away-again"))


# -- bad input


def wrong_spans(**fields: Any) -> bytes:
    request = trace_request(f"wrong-{sorted(fields)}-{fields}")
    for span in request.resource_spans[0].scope_spans[0].spans:
        for key, value in fields.items():
            setattr(span, key, value)
    return bytes(request.SerializeToString())


def bad_requests() -> list[tuple[str, bytes, dict[str, str], int]]:
    """Return (what, body, headers, status) over HTTP."""
    whole = trace_body("broken")
    bomb = gzip.compress(bytes(200 * MIB), 9)
    wrong_types = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7, "name": {}}]}]}]}
    return [
        ("truncated", whole[:-7], PROTOBUF, 400),
        ("html", b"<html></html>", PROTOBUF, 400),
        ("bad text", whole.replace(b"chat gpt-4o", b"chat \xff\xfet-4o"), PROTOBUF, 400),
        ("content type", whole, {"content-type": "text/plain"}, 415),
        ("encoding", whole, PROTOBUF | {"content-encoding": "br"}, 415),
        ("17 MiB", trace_body("huge", pad_bytes=17 * MIB), PROTOBUF, 413),
        ("gzip bomb", bomb, PROTOBUF | {"content-encoding": "gzip"}, 413),
        ("damaged gzip", gzip.compress(whole)[:-9], PROTOBUF | {"content-encoding": "gzip"}, 400),
        ("wrong types", json.dumps(wrong_types).encode(), JSON, 400),
        ("not json", b"{", JSON, 400),
    ]


def bad_over_grpc() -> list[tuple[str, bytes, grpc.StatusCode]]:
    """Return (what, message, status) over gRPC."""
    whole = trace_body("broken")
    return [
        ("truncated", whole[:-7], grpc.StatusCode.INVALID_ARGUMENT),
        ("bad text", whole.replace(b"chat gpt-4o", b"chat \xff\xfet-4o"), grpc.StatusCode.INVALID_ARGUMENT),
        ("17 MiB", trace_body("huge", pad_bytes=17 * MIB), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ]


ODD_TIMES = {
    "future": {"start_time_unix_nano": 7_258_118_400 * 10**9, "end_time_unix_nano": 7_258_118_401 * 10**9},
    "largest": {"start_time_unix_nano": 2**64 - 2, "end_time_unix_nano": 2**64 - 1},
    "zero": {"start_time_unix_nano": 0, "end_time_unix_nano": 0},
    "end-before-start": {"end_time_unix_nano": 1},
}


def test_bad_input_is_answered_and_counted_and_touches_nothing_else(tmp_path: Path) -> None:
    stop = threading.Event()
    sent: list[str] = []
    with Up(tmp_path / "data", **QUICK, CLEARWATCH__COLLECTOR__VALIDATE="full").start() as up:

        def keep_sending(_: int) -> None:
            while not stop.is_set():
                sent.append(f"during-{len(sent)}")
                insist(up, trace_body(sent[-1]))

        insist(up, trace_body("before"))
        join = in_threads(keep_sending, 1)
        try:
            by_status: dict[int, int] = {}
            for what, body, headers, status in bad_requests():
                assert post(up, body, headers).status_code == status, what
                by_status[status] = by_status.get(status, 0) + 1
            by_code: dict[str, int] = {}
            for what, body, code in bad_over_grpc():
                assert refused_by_grpc(up, body)[0] is code, what
                by_code[code.name] = by_code.get(code.name, 0) + 1
            zero = post(up, wrong_spans(trace_id=bytes(16)))
            assert zero.status_code == httpx.codes.OK
            assert b"trace id or span id" in zero.content
        finally:
            stop.set()
            join()
        insist(up, trace_body("after"))
        status = up.wait_until_idle()
        for number, count in by_status.items():
            assert metric(up, "clearwatch_collector_requests_total", transport="http", status=str(number)) == count
            assert status["dropped"][f"request_http_{number}"] == count
        for name, count in by_code.items():
            assert metric(up, "clearwatch_collector_requests_total", transport="grpc", status=name) == count
            assert status["dropped"][f"request_grpc_{name.lower()}"] == count
        assert status["spans"]["rejected"] == 2
        assert status["dead_letters"] == 0
        expect_each_found(up, ["before", *sent, "after"])
        assert up.stop() == 0


def test_impossible_times_are_read_and_change_nothing_of_other_traces(tmp_path: Path) -> None:
    with Up(tmp_path / "data", **QUICK).start() as up:
        insist(up, trace_body("before"))
        for what, fields in ODD_TIMES.items():
            request = trace_request(what, service=what)
            for span in request.resource_spans[0].scope_spans[0].spans:
                for key, value in fields.items():
                    setattr(span, key, value)
            assert post(up, request.SerializeToString()).content == b"", what
            insist(up, trace_body(f"beside-{what}"))
        negative = json.loads(as_json("negative"))
        for span in negative["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            span["startTimeUnixNano"] = "-5"
        assert post(up, json.dumps(negative), JSON).status_code in (200, 400)
        insist(up, trace_body("after"))
        status = up.wait_until_idle()
        assert status["dead_letters"] == 0
        by_trace: dict[str, set[str]] = {}
        for trace_id, check, _ in answers(up):
            by_trace.setdefault(trace_id, set()).add(check)
        good = by_trace[trace_id_of("before")]
        for name in ("after", *(f"beside-{what}" for what in ODD_TIMES)):
            assert by_trace[trace_id_of(name)] == good
        for what in ODD_TIMES:
            assert good <= by_trace[trace_id_of(what)], what
        # a restart reads its own state back, impossible times and all, and goes on
        assert up.stop() == 0
        up.start()
        insist(up, trace_body("restarted"))
        up.wait_until_idle()
        assert trace_id_of("restarted") in {trace_id for trace_id, _, _ in answers(up)}
        assert up.stop() == 0


def as_json(name: str) -> str:
    now_ns = time.time_ns()
    trace_id = trace_id_of(name)
    span = {
        "traceId": trace_id,
        "spanId": trace_id[:16],
        "name": "chat gpt-4o",
        "startTimeUnixNano": str(now_ns - 10**9),
        "endTimeUnixNano": str(now_ns),
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


# -- signals


def test_a_signal_under_traffic_ends_it_cleanly_and_loses_nothing(tmp_path: Path) -> None:
    names: list[list[str]] = [[] for _ in range(4)]
    stop = threading.Event()
    with Up(tmp_path / "data", **QUICK).start() as up:

        def client(number: int) -> None:
            while not stop.is_set():
                name = f"{number}-{len(names[number])}"
                insist(up, trace_body(name))
                names[number].append(name)

        join = in_threads(client, 4)
        try:
            for sign in (signal.SIGTERM, signal.SIGINT):
                at_least = sum(map(len, names)) + 40
                eventually(lambda at_least=at_least: sum(map(len, names)) >= at_least, up)  # type: ignore[misc]
                began = time.monotonic()
                up.signal(sign)
                assert up.wait() == 0, up.log_tail()
                assert time.monotonic() - began < 20 + 5
                up.start()
        finally:
            stop.set()
            join()
        up.wait_until_idle()
        expect_each_found(up, [name for each in names for name in each])
        assert up.stop() == 0
    assert "Traceback" not in (up.data_dir / "up.log").read_text(), up.log_tail()


ENDLESS = """
import pathlib, time
from clearwatch import Dimension

class Endless:
    name, dimension, needs = "endless", Dimension.EXECUTION, ()

    def inspect(self, trace):
        pathlib.Path({asked!r}).touch()
        while True:
            time.sleep(0.1)

CHECKS = (Endless,)
"""


def test_a_check_that_never_returns_does_not_keep_its_process_from_ending(tmp_path: Path) -> None:
    checks, asked = tmp_path / "checks", tmp_path / "asked"
    checks.mkdir()
    (checks / "endless.py").write_text(ENDLESS.format(asked=str(asked)))
    with Up(tmp_path / "data", CLEARWATCH__DETECTOR__CHECKS_DIR=str(checks), **QUICK).start() as up:
        insist(up, trace_body("held-up"))
        eventually(asked.exists, up)
        insist(up, trace_body("behind-it"))
        assert up.stop() == 0
        assert "ends without stage assemble in partition" in up.log()
        (checks / "endless.py").unlink()
        up.start()
        up.wait_until_idle()
        expect_each_found(up, ["held-up", "behind-it"])
        assert up.stop() == 0


def test_a_signal_while_it_starts_ends_it_and_harms_nothing(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", **QUICK)
    rng = random.Random(4)
    for _ in range(4):
        up.launch()
        time.sleep(rng.uniform(0.3, 3.0))
        up.signal(signal.SIGTERM)
        # before it listens for the signal there is nothing to finish
        assert up.wait() in (0, -signal.SIGTERM), up.log_tail()
    with up.start():
        insist(up, trace_body("after"))
        up.wait_until_idle()
        expect_each_found(up, ["after"])
        assert up.stop() == 0


# -- folders and files


def test_a_second_up_over_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with Up(tmp_path / "data", **QUICK).start() as first:
        insist(first, trace_body("before"))
        done = Up(first.data_dir, **QUICK).run("up", "--data-dir", str(first.data_dir))
        assert done.returncode == 2
        message = " ".join(done.stderr.split())
        assert f"data folder {first.data_dir} is in use by another `clearwatch up`" in message
        assert "--data-dir" in message
        assert "Traceback" not in message
        insist(first, trace_body("after"))
        first.wait_until_idle()
        expect_each_found(first, ["before", "after"])
        assert first.stop() == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = Up(tmp_path / "data").run("up", "--data-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert re.search(r"data folder \S+/file/data cannot be written: .*--data-dir", message), message
    assert "Traceback" not in message


@pytest.mark.parametrize("file", ["log.sqlite3", "records.sqlite3"])
def test_files_of_a_newer_release_are_refused_with_what_to_do(tmp_path: Path, file: str) -> None:
    up = Up(tmp_path / "data", **QUICK)
    with up.start():
        insist(up, trace_body("before"))
        up.wait_until_idle()
        assert up.stop() == 0
    before = set_format(up.data_dir / file, "99")
    done = up.run("up", "--data-dir", str(up.data_dir))
    message = " ".join(done.stderr.split())
    assert done.returncode in (1, 2)
    assert re.search(r"99, this release reads up to \d+: upgrade", message), message
    assert "Traceback" not in message
    set_format(up.data_dir / file, before)
    with up.start():
        insist(up, trace_body("after"))
        up.wait_until_idle()
        expect_each_found(up, ["before", "after"])
        assert up.stop() == 0


# -- what they share


def running_on(disk: Path, tmp_path: Path) -> Up:
    """Return an `up` with its data on a disk, and what it prints beside it."""
    (disk / "data").mkdir()
    (disk / "data" / "up.log").symlink_to(tmp_path / "up.log")
    return Up(disk / "data", **QUICK)


def refused_by_grpc(up: Up, message: bytes) -> tuple[grpc.StatusCode, list[Any]]:
    """Call over gRPC; return the status of the refusal and its details."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(up.grpc, options=options) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(EXPORT, request_serializer=bytes, response_deserializer=bytes)(message, timeout=60)
    error: Any = caught.value
    trailing = {str(key): value for key, value in error.trailing_metadata() or ()}
    return error.code(), list(Status.FromString(trailing.get("grpc-status-details-bin", b"")).details)


def linked(server: RunningMlflow, issue_id: str = "%") -> list[str]:
    """Return the traces with a link to this issue, or to any, as MLflow stores them."""
    query = "SELECT trace_id FROM assessments WHERE assessment_type = 'issue' AND name LIKE ?"
    with contextlib.closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as store:
        return [row[0] for row in store.execute(query, (issue_id,))]


def set_format(file: Path, version: str) -> str:
    """Write the format version of a log or a records file; return the one before."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        if file.name == "log.sqlite3":
            before = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute(f"PRAGMA user_version = {int(version)}")
        else:
            before = connection.execute("SELECT version_num FROM clearwatch_records_version").fetchone()[0]
            connection.execute("UPDATE clearwatch_records_version SET version_num = ?", (version,))
        connection.commit()
    return str(before)
