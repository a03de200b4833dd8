"""A child that owns the local MLflow server and never outlives its parent.

MLflow's command starts workers of its own, and a SIGKILL of `clearwatch up` reaches none of them. So `up` starts this
module with a pipe as standard input: when the pipe closes, however the parent ended, the whole process group of the
server is ended. Only the standard library is imported, to stay small.
"""

import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 5.0


def main(command: list[str]) -> int:
    """Run `command` in a session of its own until it exits or standard input closes; return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal group; the parent decides
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own argv
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.5)
        if readable and not os.read(0, 1):
            break
    _end_group(child)
    return child.returncode or 0


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    """Ask the group to end, then make it; workers may outlive their master, so the group is signalled, not the pid."""
    for sign, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            child.poll()
            try:
                os.killpg(child.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
    child.poll()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
