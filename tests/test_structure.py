"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jamie as jm

ROOT = Path(__file__).parents[1]
ROOMS = ("datasets", "get", "metrics", "pl", "pp", "tl")
FUNCTIONS = {
    f"jm.{room}.{name}": getattr(getattr(jm, room), name) for room in ROOMS for name in getattr(jm, room).__all__
}

every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


def section(doc, title):
    """Lines of one section of a NumPy docstring."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+$|\Z)", doc, flags=re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


@every_function
def test_few_parameters_are_positional(function):
    parameters = inspect.signature(function).parameters.values()
    assert len([p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]) <= 3


@every_function
def test_parameters_and_result_are_annotated(function):
    signature = inspect.signature(function)
    assert signature.return_annotation is not signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


@every_function
def test_every_parameter_is_described_and_nothing_else(function):
    parameters = list(inspect.signature(function).parameters)
    text = section(inspect.getdoc(function), "Parameters")
    described = [name for line in re.findall(r"^\S.*$", text, re.MULTILINE) for name in line.split(", ")]
    assert sorted(described) == sorted(parameters)
    assert "{shared}" not in inspect.getdoc(function)


@every_function
def test_the_docstring_has_a_summary_and_an_example(function):
    doc = inspect.getdoc(function)
    summary, blank = f"{doc}\n".splitlines()[:2]
    assert re.match(r"[A-Z].*[.]$", summary)
    assert not blank
    assert ">>> " in section(doc, "Examples")


def by_number(name):
    """5k before 10k, as ruff has it."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@pytest.mark.parametrize("room", [jm, *(getattr(jm, room) for room in ROOMS)], ids=["jamie", *ROOMS])
def test_rooms_list_what_they_hold_in_order(room):
    assert room.__all__ == sorted(room.__all__, key=by_number)
    assert all(hasattr(room, name) for name in room.__all__)
    assert inspect.getdoc(room)


def test_version_is_that_of_the_distribution():
    assert jm.__version__ == importlib.metadata.version("jamie-tools")
    assert re.match(r"\d+\.\d+\.\d+", jm.__version__)


@pytest.fixture(scope="module")
def version_in_a_shell():
    """What `python -m jamie --version` prints, and the packages that it imports."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "importtime", "-m", "jamie", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, set(re.findall(r"^import time: .*\| +(\w+)$", done.stderr, re.MULTILINE))


def test_version_from_a_shell(version_in_a_shell):
    assert version_in_a_shell[0] == f"jamie-tools {importlib.metadata.version('jamie-tools')}\n"


def test_imports_that_are_heavy_or_fetch_wait_until_they_are_needed(version_in_a_shell):
    imported = version_in_a_shell[1]
    assert {"jamie", "torch", "mudata"} <= imported
    assert imported & {"shap", "scanpy", "umap", "numba", "pooch", "requests", "rdata"} == set()


def private_imports(folder):
    """What files of one room import of another that its `__init__` does not export, as "room/_file: module.name"."""
    rooms = {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}
    for path in sorted(folder.rglob("*.py")):
        of_file = path.relative_to(folder).parts
        for node in ast.walk(ast.parse(path.read_text())):
            for module, name in imported(node, ("jamie", *of_file)):
                parts = f"{module}.{name}".split(".") if name else module.split(".")
                room = parts[1] if len(parts) > 2 and parts[0] == "jamie" else ""
                if room in rooms - {of_file[0]} and any(part.startswith("_") for part in parts[2:]):
                    yield f"{'/'.join(of_file)}: {'.'.join(parts)}"


def imported(node, of_file):
    """Pairs of a module and what is taken from it, of an import that may be relative to its file."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = ".".join(of_file[: -node.level]) if node.level else ""
        module = ".".join(part for part in (above, node.module) if part)
        yield from ((module, alias.name) for alias in node.names)


def test_only_what_a_room_exports_is_imported_from_it():
    assert list(private_imports(ROOT / "src" / "jamie")) == []


@pytest.mark.parametrize(
    ("line", "is_private"),
    [
        ("from jamie.two._deep import f", True),
        ("from jamie.two import _deep", True),
        ("from jamie.two._deep import f as g", True),
        ("import jamie.two._deep", True),
        ("from ..two._deep import f", True),
        ("from ..two import _deep", True),
        ("def f():\n    from jamie.two._deep import f", True),
        ("if TYPE_CHECKING:\n    from jamie.two._deep import f", True),
        ("from jamie.two import f", False),
        ("from jamie import two", False),
        ("from jamie._keys import Keys", False),
        ("from jamie.one._own import f", False),
        ("from ._own import f", False),
        ("from numpy._core import f", False),
        ("from jamie.two import f, _deep", True),
    ],
)
def test_an_import_of_what_is_private_is_seen(line, is_private, tmp_path):
    for name, text in (("one/__init__", ""), ("two/__init__", ""), ("two/_deep", ""), ("one/_own", line)):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert bool(list(private_imports(tmp_path))) is is_private


RUNS_CODE = re.compile(
    r"\b(pickle|cPickle|dill|cloudpickle|shelve|marshal|read_pickle|to_pickle|allow_pickle|weights_only)\b"
    r"|\b(torch|joblib)\.(load|save|dump)\b|\bfrom (torch|joblib) import .*\b(load|save|dump)\b"
)


@pytest.mark.parametrize(
    ("line", "is_code"),
    [
        ("import pickle", True),
        ("model = torch.load(path)", True),
        ("from joblib import Parallel, dump", True),
        ("np.load(path, allow_pickle=True)", True),
        ("from joblib import Parallel", False),
        ("from safetensors.torch import load", False),
        ("np.load(path)", False),
    ],
)
def test_what_reads_code_from_a_file_is_seen(line, is_code):
    assert bool(RUNS_CODE.search(line)) is is_code


def test_no_file_is_pickled_or_unpickled():
    """What is said of it in docstrings and comments is not meant."""
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = ""
        assert not RUNS_CODE.search(ast.unparse(tree)), path


def test_import_contracts_hold():
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
