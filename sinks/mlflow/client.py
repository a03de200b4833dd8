"""MLflow's REST API as this sink uses it: one coroutine per call, errors told apart by what can be done about them.

- Every call uses a connection of its own (`Connection: close`): on a kept-alive one, delayed ACKs against Nagle's
  algorithm on the server's side cost 40 ms a call, a new connection to it 4 ms.
- Nothing is retried here; the outbox and the forwarder do, with their own idempotency.
- 3.17's shapes, run against a real server. 3.18 adds fields to issues (`last_seen_timestamp`, `last_updated_by`,
  `metadata`), which are let through unread; that was tested on shapes written down from its release, not on a server.
  Its structured evidence is not written.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from core.errors import PermanentError, RetryableError
from sinks.delivery import PeerUnavailableError
from sinks.mlflow.config import MlflowConfig

# of our assessments
SOURCE_ID: Final = "clearwatch"
_OK: Final = range(200, 300)
_OVERLOADED: Final = frozenset({408, 425, 429, 502, 503, 504})
_DENIED: Final = frozenset({401, 403})
# the REST API's page limits: issues 50000, runs 50000; smaller pages keep one reply under some MB
_PAGE: Final = 1000
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class MlflowRefusedError(PermanentError):
    """MLflow will answer this call the same way every time (4xx)."""

    def __init__(self, *, call: str, status: int, code: str, reason: str) -> None:
        super().__init__(f"mlflow refused {call} with {status} {code}: {reason[:300]}")
        self.status = status
        self.code = code


class MlflowMissingError(MlflowRefusedError):
    """What the call names does not exist (404)."""


class MlflowFailedError(RetryableError):
    """MLflow answered 500: a bug, a constraint, or a lock; the same call may or may not work later."""

    def __init__(self, *, call: str, reason: str) -> None:
        super().__init__(f"mlflow failed at {call} with 500: {reason[:300]}")


class MlflowIssue(msgspec.Struct, frozen=True, kw_only=True):
    """An issue as MLflow returns it."""

    issue_id: str
    name: str = ""
    description: str = ""
    status: str = ""
    severity: str = ""
    created_by: str = ""
    source_run_id: str = ""
    created_timestamp: int = 0
    """Milliseconds since the epoch, as the next one."""
    last_updated_timestamp: int = 0


class MlflowRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as far as we need it."""

    run_id: str
    status: str
    lifecycle_stage: str
    tags: Mapping[str, str]


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """An assessment to be written; `feedback` False makes it a Feedback, an `issue_name` an IssueReference."""

    assessment_id: str
    name: str
    rationale: str
    metadata: Mapping[str, str]
    span_id: str = ""
    issue_name: str = ""


class TraceAssessments(msgspec.Struct, frozen=True, kw_only=True):
    """A trace's assessments as MLflow shows them."""

    trace_id: str
    started_ms: int
    session_id: str = ""
    assessments: tuple[Mapping[str, Any], ...] = ()


class MlflowClient:
    """Calls one tracking server. Every method raises PeerUnavailableError, MlflowFailedError or MlflowRefusedError."""

    def __init__(self, config: MlflowConfig) -> None:
        self._base = config.tracking_uri.rstrip("/")
        self.ui = (config.ui_url or config.tracking_uri).rstrip("/")
        headers = {"connection": "close", "user-agent": "clearwatch"}
        if config.token.get_secret_value():
            headers["authorization"] = f"Bearer {config.token.get_secret_value()}"
        if config.workspace:
            headers["x-mlflow-workspace"] = config.workspace
        auth = (config.username, config.password.get_secret_value()) if config.username else None
        self._http = httpx.AsyncClient(
            headers=headers,
            auth=auth,
            timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s),
            limits=httpx.Limits(max_keepalive_connections=0, max_connections=64),
            # a proxy of the environment is never meant for a server on this machine
            trust_env=(urlsplit(self._base).hostname or "") not in _LOOPBACK,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def version(self) -> str:
        """Return the server's version; an empty string where it does not say."""
        try:
            return (await self._send("GET", "/version")).text.strip()[:40]
        except MlflowRefusedError:
            return ""

    async def warm_up(self, calls: int = 4) -> None:
        """Have each worker load what spans and issues need, before somebody waits for it; failures do not matter."""
        empty = {"x-mlflow-experiment-id": "0", "content-type": "application/x-protobuf"}
        search = {"filter_string": "source_run_id = '-'", "max_results": 1}
        await asyncio.gather(
            *(self._send("POST", "/v1/traces", content=b"", headers=empty) for _ in range(calls)),
            *(self._call("POST", "/api/3.0/mlflow/issues/search", search) for _ in range(calls)),
            return_exceptions=True,
        )

    async def send_spans(self, experiment_id: str, otlp: bytes) -> None:
        """Send `TracesData` bytes; all or nothing. Sending them again changes nothing (upsert by span id)."""
        await self._send(
            "POST",
            "/v1/traces",
            content=otlp,
            headers={"x-mlflow-experiment-id": experiment_id, "content-type": "application/x-protobuf"},
        )

    async def experiment_name(self, experiment_id: str) -> str:
        """Return the name of an experiment."""
        found = await self._call(
            "GET", f"/api/2.0/mlflow/experiments/get?experiment_id={quote(experiment_id, safe='')}"
        )
        return str(found["experiment"]["name"])

    async def find_experiment(self, name: str) -> tuple[str, bool]:
        """Return the id of an experiment and whether it is active."""
        found = await self._call(
            "GET", f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(name, safe='')}"
        )
        experiment = found["experiment"]
        return str(experiment["experiment_id"]), experiment.get("lifecycle_stage") != "deleted"

    async def create_experiment(self, name: str) -> str:
        """Create an experiment; MlflowRefusedError with code RESOURCE_ALREADY_EXISTS where there is one."""
        return str((await self._call("POST", "/api/2.0/mlflow/experiments/create", {"name": name}))["experiment_id"])

    async def find_run(self, experiment_id: str, tag: str, value: str) -> MlflowRun | None:
        """Return the oldest active run with this tag, so that two finders agree."""
        body = {
            "experiment_ids": [experiment_id],
            "filter": f"tags.`{tag}` = '{value}'",
            "run_view_type": "ACTIVE_ONLY",
            "order_by": ["attributes.start_time ASC"],
            "max_results": 1,
        }
        runs = (await self._call("POST", "/api/2.0/mlflow/runs/search", body)).get("runs", [])
        return _run(runs[0]) if runs else None

    async def get_run(self, run_id: str) -> MlflowRun:
        """Return a run, deleted ones too."""
        return _run((await self._call("GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}"))["run"])

    async def create_run(self, experiment_id: str, *, name: str, start_ms: int, tags: Mapping[str, str]) -> str:
        """Create a run and return its id."""
        body = {"experiment_id": experiment_id, "run_name": name, "start_time": start_ms, "tags": _pairs(tags)}
        return str((await self._call("POST", "/api/2.0/mlflow/runs/create", body))["run"]["info"]["run_id"])

    async def delete_run(self, run_id: str) -> None:
        """Delete a run; people can restore it."""
        await self._call("POST", "/api/2.0/mlflow/runs/delete", {"run_id": run_id})

    async def log_batch(
        self, run_id: str, *, tags: Mapping[str, str], metrics: Mapping[str, float], at_ms: int
    ) -> None:
        """Set tags and log metrics of a run, in one call."""
        values = [{"key": k, "value": v, "timestamp": at_ms, "step": 0} for k, v in metrics.items()]
        body = {"run_id": run_id, "metrics": values, "tags": _pairs(tags)}
        await self._call("POST", "/api/2.0/mlflow/runs/log-batch", body)

    async def set_run_status(self, run_id: str, status: str, end_ms: int | None = None) -> None:
        """Set a run's status (RUNNING, FINISHED)."""
        body: dict[str, Any] = {"run_id": run_id, "status": status}
        if end_ms is not None:
            body["end_time"] = end_ms
        await self._call("POST", "/api/2.0/mlflow/runs/update", body)

    async def create_issue(self, body: Mapping[str, Any]) -> MlflowIssue:
        """Create an issue: MLflow chooses the id and creates a second one if asked twice."""
        return issue_of((await self._call("POST", "/api/3.0/mlflow/issues", body))["issue"])

    async def get_issue(self, issue_id: str) -> MlflowIssue:
        """Return an issue."""
        return issue_of((await self._call("GET", f"/api/3.0/mlflow/issues/{issue_id}"))["issue"])

    async def update_issue(self, issue_id: str, changes: Mapping[str, str]) -> MlflowIssue:
        """Change status, severity or description."""
        body = {"issue_id": issue_id, **changes}
        return issue_of((await self._call("PATCH", f"/api/3.0/mlflow/issues/{issue_id}", body))["issue"])

    async def issues_of_run(self, experiment_id: str, run_id: str) -> Sequence[MlflowIssue]:
        """Return every issue of a run (without trace counts, which are slow)."""
        found: dict[str, MlflowIssue] = {}
        token = ""
        while True:
            body: dict[str, Any] = {
                "experiment_id": experiment_id,
                "filter_string": f"source_run_id = '{run_id}'",
                "max_results": _PAGE,
            }
            if token:
                body["page_token"] = token
            page = await self._call("POST", "/api/3.0/mlflow/issues/search", body)
            for issue in map(issue_of, page.get("issues", ())):
                found[issue.issue_id] = issue
            token = page.get("next_page_token", "")
            if not token:
                return tuple(found.values())

    async def write_assessment(self, trace_id: str, assessment: Assessment) -> bool:
        """Write an assessment under an id of our choice; False where it stood there already.

        A second write of the same id is answered 500 ("constraint violation"), which is what makes the id an
        idempotency key: if the assessment is then found, it is done. MlflowMissingError: the trace is not there yet.
        """
        path = f"/api/3.0/mlflow/traces/{trace_id}/assessments"
        try:
            await self._call("POST", path, {"assessment": _assessment_body(trace_id, assessment)})
        except MlflowFailedError:
            try:
                await self._call("GET", f"{path}/{assessment.assessment_id}")
            except MlflowMissingError:
                pass
            else:
                return False
            raise
        return True

    async def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Delete an assessment; one that is not there is no error."""
        try:
            await self._call("DELETE", f"/api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}")
        except MlflowMissingError:
            return

    async def assessments(self, trace_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the assessments of a trace as MLflow shows them."""
        found = await self._call("GET", f"/api/3.0/mlflow/traces/{trace_id}")
        return list(found["trace"]["trace_info"].get("assessments", []))

    async def traces_before(
        self, experiment_id: str, before_ms: int, oldest_ms: int, *, most: int
    ) -> Sequence[TraceAssessments]:
        """Return traces that started at or before a time, the latest first, with assessments and without spans."""
        body = {
            "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}],
            "filter": f"timestamp_ms <= {before_ms} AND timestamp_ms > {oldest_ms}",
            "order_by": ["timestamp_ms DESC"],
            "max_results": most,
        }
        found = (await self._call("POST", "/api/3.0/mlflow/traces/search", body)).get("traces", [])
        return tuple(
            TraceAssessments(
                trace_id=str(trace["trace_id"]),
                started_ms=int(datetime.fromisoformat(trace["request_time"]).timestamp() * 1000),
                session_id=str(trace.get("trace_metadata", {}).get("mlflow.trace.session", "")),
                assessments=tuple(trace.get("assessments", ())),
            )
            for trace in found
        )

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        content = msgspec.json.encode(body) if body is not None else None
        headers = {"content-type": "application/json"} if body is not None else {}
        reply = await self._send(method, path, content=content, headers=headers)
        try:
            return msgspec.json.decode(reply.content or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as exc:
            raise PeerUnavailableError(f"mlflow answered {path} with something else than JSON: {exc}") from exc

    async def _send(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        call = f"{method} {_named(path)}"
        try:
            reply = await self._http.request(method, self._base + path, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise PeerUnavailableError(f"mlflow does not answer {call}: {type(exc).__name__} {exc}") from exc
        if reply.status_code in _OK:
            return reply
        raise _error_of(call, reply)


def issue_of(found: Mapping[str, Any]) -> MlflowIssue:
    """Return an issue; fields that are null or that we do not know are left out."""
    return msgspec.convert({key: value for key, value in found.items() if value is not None}, MlflowIssue, strict=False)


def _error_of(call: str, reply: httpx.Response) -> Exception:
    status, code, reason = reply.status_code, "", reply.text
    try:
        found = msgspec.json.decode(reply.content, type=dict[str, Any])
        code, reason = str(found.get("error_code", "")), str(found.get("message", found.get("detail", "")))
    except msgspec.DecodeError:
        pass  # an HTML page: the text itself is the reason
    if status in _OVERLOADED:
        return PeerUnavailableError(f"mlflow answers {call} with {status}", retry_after_s=retry_after_s(reply))
    if status in _DENIED:
        return PeerUnavailableError(f"mlflow denies {call} with {status}: check the credentials", retry_after_s=10.0)
    if status >= 500:
        return MlflowFailedError(call=call, reason=reason)
    kind = MlflowMissingError if status == 404 else MlflowRefusedError
    return kind(call=call, status=status, code=code, reason=reason)


def retry_after_s(reply: httpx.Response) -> float:
    """Return the seconds of a Retry-After header (RFC 9110 10.2.3), at most an hour; 1 where there is none."""
    text = reply.headers.get("retry-after", "")
    return min(3600.0, float(text)) if re.fullmatch(r"\d{1,9}", text) else 1.0


def _named(path: str) -> str:
    return path.partition("?")[0]


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _run(found: Mapping[str, Any]) -> MlflowRun:
    info = found["info"]
    tags = {str(tag["key"]): str(tag.get("value", "")) for tag in found.get("data", {}).get("tags", [])}
    return MlflowRun(
        run_id=info["run_id"], status=info["status"], lifecycle_stage=info.get("lifecycle_stage", ""), tags=tags
    )


def _assessment_body(trace_id: str, assessment: Assessment) -> dict[str, Any]:
    body: dict[str, Any] = {
        "assessment_id": assessment.assessment_id,
        "assessment_name": assessment.name,
        "trace_id": trace_id,
        "source": {"source_type": "CODE", "source_id": SOURCE_ID},
        "rationale": assessment.rationale,
        "metadata": dict(assessment.metadata),
    }
    if assessment.span_id:
        body["span_id"] = assessment.span_id
    if assessment.issue_name:
        body["issue"] = {"issue_name": assessment.issue_name}
    else:
        body["feedback"] = {"value": False}
    return body
