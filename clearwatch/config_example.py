"""Write the example configuration from the code.

`python -m clearwatch.config_example > deploy/clearwatch.example.yaml`

Every key stands there with its default; the comment above it is the docstring below the field.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator

from pydantic import BaseModel

from clearwatch.config import Config

HEADER = """\
# Every key with its default. All may be left out. Each is also an environment variable, which wins over this file:
# detector.assemble.root_grace_s is CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S.
"""
WIDTH = 110


def example() -> str:
    """Return the example file."""
    return "\n".join([HEADER, *_section(Config(), indent="")]) + "\n"


def _section(model: BaseModel, *, indent: str) -> Iterator[str]:
    explained = _field_docstrings(type(model))
    values = model.model_dump(mode="json", by_alias=True)
    for name, field in type(model).model_fields.items():
        key = field.alias or name
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            first_line = (inspect.getdoc(type(value)) or "").partition("\n")[0]
            yield from _comment(first_line, indent)
            yield f"{indent}{key}:"
            yield from _section(value, indent=f"{indent}  ")
            if not indent:
                yield ""
        else:
            yield from _comment(explained.get(name, ""), indent)
            yield f"{indent}{key}: {json.dumps(values[key])}"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), WIDTH - len(indent)):
        yield f"{indent}# {line}"


def _field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the string that stands below each field in the source, base classes included."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        except OSError:
            continue  # made at run time: its fields explain themselves in their own sections
        assert isinstance(body, ast.ClassDef)  # noqa: S101 - what getsource of a class gives
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                found[field.target.id] = str(ast.literal_eval(below.value))
    return found


if __name__ == "__main__":
    print(example(), end="")  # noqa: T201 - its output is the file
