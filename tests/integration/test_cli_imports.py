"""What every command has to wait for before it begins."""

import subprocess
import sys

# what only some commands need, and takes half a second and more to import
_LATER = ("aiokafka", "alembic", "grpc", "litellm", "mlflow", "numpy", "river", "sqlalchemy")


def test_commands_begin_without_databases_brokers_and_models() -> None:
    code = f"import sys, clearwatch.cli; print(*(name for name in {_LATER!r} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
