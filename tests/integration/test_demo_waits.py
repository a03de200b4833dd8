"""What the demo waits for, against a server that answers as the ops API does."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from clearwatch.demo.agent import AGENT
from clearwatch.demo.run import wait_for_issues

_ISSUE = {
    "service": AGENT,
    "issue_id": "1",
    "title": "search_trains fails with ToolError",
    "category": "execution",
    "severity": "medium",
    "trace_count": 7,
}


@contextmanager
def ops_api(links: Sequence[str | None], *, groups: Sequence[str]) -> Iterator[str]:
    """Serve an idle status and one issue, whose link is the next of `links` each time it is asked for."""
    asked = iter(links)

    class Ops(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith("/status"):
                said: object = {"traces": {"open": 0}, "lag": dict.fromkeys(groups, 0)}
            else:
                said = {"issues": [_ISSUE | {"run_url": next(asked)}]}
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ops) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def wait(url: str) -> tuple[list[str | None], bool, list[str]]:
    said: list[str] = []
    now = time.monotonic()
    issues, has_mlflow = wait_for_issues(url, deadline=now, link_deadline=now + 60, waiting=said.append)
    return [issue.run_url for issue in issues], has_mlflow, said


def test_an_mlflow_that_starts_slowly_is_waited_for_beyond_the_time_for_issues() -> None:
    with ops_api([None, None, "http://mlflow/1"], groups=["issues", "mlflow"]) as url:
        links, has_mlflow, said = wait(url)
    assert (links, has_mlflow) == (["http://mlflow/1"], True)
    assert len(said) == 2
    assert all("MLflow" in each for each in said)


def test_where_nothing_writes_to_mlflow_its_link_is_not_waited_for() -> None:
    with ops_api([None], groups=["issues"]) as url:
        assert wait(url) == ([None], False, [])
