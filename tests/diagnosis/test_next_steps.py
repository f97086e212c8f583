"""The calls that findings and the report name exist, and take the options that they are named with."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import jamie as jm

SOURCE = Path(jm.__file__).parent
FILES = [*sorted((SOURCE / "diagnosis").glob("*.py")), SOURCE / "tl" / "_diagnose.py", SOURCE / "pl" / "_report.py"]
CALL = re.compile(r"jm\.(\w+)\.(\w+)\(([^()]*)\)")


def texts(path):
    """Text of a file, also of f-strings, whose values are left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


CALLS = sorted({call for path in FILES for text in texts(path) for call in CALL.findall(text)})


@pytest.mark.parametrize(("room", "name", "arguments"), CALLS, ids=lambda value: str(value)[:40])
def test_calls_that_are_named_exist(room, name, arguments):
    function = getattr(getattr(jm, room), name)
    named = set(re.findall(r"(\w+)=", arguments))
    assert named <= set(inspect.signature(function).parameters)


def test_there_are_such_calls():
    assert {"split", "train", "correspondence", "prepare", "impute"} <= {name for _, name, _ in CALLS}
