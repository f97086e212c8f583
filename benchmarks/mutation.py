"""Whether tests notice when the code is wrong: mutants of one room, and how many of them its own tests kill.

    python benchmarks/mutation.py metrics
    python benchmarks/mutation.py metrics --rng 1 --sample 200
    python benchmarks/mutation.py metrics --mutants jamie.metrics._columns.x_vary__mutmut_3

A mutant is a function with one small change: `<` for `<=`, `+` for `-`, a number plus one, an argument that is left out
or `None`. mutmut makes them and runs, for each, the tests of the room that call the function, the shortest first. A
mutant that no test fails on has survived. The score is the share of the mutants that were killed, of those that can be:
`equivalent_mutants/` lists, by the change itself, the survivors that were read and change no result.

Not mutated: what stands outside functions, such as constants; decorated functions; error and log messages, with the
names that checks put into them; the `strict=` of `zip`, by which the code asserts what it knows.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
EQUIVALENT = REPOSITORY / "benchmarks" / "equivalent_mutants"  # a file a room: function, before, after, why
WORK = REPOSITORY / ".mutmut"  # a folder a room, made anew each time
ONE_THREAD = {"OMP_NUM_THREADS": "1", "DASK_SCHEDULER": "synchronous"}
"""Each mutant is a fork, in which the threads of a pool are gone: a test that waited for one of dask's would count as a
kill by timeout, after minutes."""
SAYING = "logger."
TEXTS = ("name", "names", "hint", "where", "remedy")
SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/jamie/{room}/*"]
also_copy = ["conftest.py", "docs", "benchmarks", "README.md"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-p", "no:cacheprovider"]
use_git_change_detection = false
"""


class Mutant(NamedTuple):
    """One change of one function."""

    name: str  # as mutmut has it
    file: str
    line: int  # of the source
    before: str  # the lines that change, and what they become
    after: str

    @property
    def function(self) -> str:
        """Name of the function, with that of its class."""
        return _function(self.name.rpartition(".")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", help="folder of src/jamie")
    parser.add_argument("--sample", type=int, default=80, help="how many mutants are drawn; 0 for all")
    parser.add_argument("--rng", type=int, default=0)
    parser.add_argument("--mutants", nargs="+", help="these instead of a sample")
    parser.add_argument(
        "--tests", nargs="+", help="these instead of all tests of the room: quicker, to look at few mutants"
    )
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    folder = _prepared(given.room, given.tests or [f"tests/{given.room}"])
    every = {mutant.name: mutant for mutant in _mutants(folder, given.room)}
    names = given.mutants or _sample(sorted(every), given.sample, given.rng)
    _mutmut(folder, "run", "--max-children", str(given.jobs), *names)
    _report([every[name] for name in names], _fates(folder), given.room, len(every))


def _prepared(room: str, tests: list[str]) -> Path:
    """Make a folder in which mutmut runs on this room: it takes its settings from a pyproject.toml only."""
    if not (REPOSITORY / "src" / "jamie" / room).is_dir():
        msg = f"expected a folder of src/jamie, found {room!r}"
        raise SystemExit(msg)
    folder = WORK / room
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("src", "tests", "conftest.py", "docs", "benchmarks", "README.md"):
        (folder / name).symlink_to(REPOSITORY / name)
    settings = (REPOSITORY / "pyproject.toml").read_text() + SETTINGS.format(room=room, tests=tests)
    (folder / "pyproject.toml").write_text(settings)
    return folder


def _mutants(folder: Path, room: str) -> Iterator[Mutant]:
    """Every mutant of a room, but those that change messages only."""
    os.chdir(folder)  # where mutmut finds its settings
    from mutmut.mutation.file_mutation import mutate_file_contents

    for path in sorted(Path("src", "jamie", room).glob("*.py")):
        source = path.read_text()
        mutated = mutate_file_contents(str(path), source)
        starts = {name: node.lineno for name, node in _functions(source).items()}
        lines, made = mutated.code.splitlines(), _functions(mutated.code)
        for name in mutated.mutant_names:
            original, changed = made[f"{name.partition('__mutmut_')[0]}__mutmut_orig"], made[name]
            if _without_messages(original) != _without_messages(changed):
                first, before, after = _change(_lines(original, lines), _lines(changed, lines))
                full = f"jamie.{room}.{path.stem}.{name}".replace(".__init__.", ".")
                yield Mutant(full, f"{room}/{path.name}", starts[_function(name)] + first, before, after)


def _function(mangled: str) -> str:
    """`f` of `x_f__mutmut_1`, `Class.f` of `xǁClassǁf__mutmut_1`."""
    return mangled.partition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def _functions(source: str) -> dict[str, ast.FunctionDef]:
    """Functions by name; of one of a class by `Class.name`, unless mutmut made it."""
    found = {}
    for node in ast.parse(source).body:
        for member in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(member, ast.FunctionDef):
                outside = member is node or "__mutmut_" in member.name
                found[member.name if outside else f"{node.name}.{member.name}"] = member
    return found


def _lines(node: ast.FunctionDef, lines: list[str]) -> list[str]:
    return [line.strip() for line in lines[node.lineno - 1 : node.end_lineno]]


def _change(before: list[str], after: list[str]) -> tuple[int, str, str]:
    """Where the first of the lines that differ is, and these lines; mutmut's name of the function always does."""
    before, after = ([re.sub(r"x\w+__mutmut_\w+", "f", lines[0]), *lines[1:]] for lines in (before, after))
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    parts = [places for tag, *places in changes if tag != "equal"]
    return parts[0][0], " ".join(before[parts[0][0] : parts[-1][1]]), " ".join(after[parts[0][2] : parts[-1][3]])


class _Messages(ast.NodeTransformer):
    """Take out what is only said: `msg = ...`, what is raised is called with, logs, names for a check, `strict=`."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if ast.unparse(node.targets[0]) == "msg" else self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | None:
        return None if ast.unparse(node.target) == "msg" else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        said = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(SAYING)
        return None if said else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = ast.unparse(node.func)
        dropped = TEXTS if name.startswith("require_") else ("strict",) if name == "zip" else ()
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in dropped]
        return self.generic_visit(node)


@cache
def _without_messages(function: ast.FunctionDef) -> str:
    node = _Messages().visit(copy.deepcopy(function))
    node.name = "f"
    return ast.dump(node)


def _sample(names: list[str], size: int, seed: int) -> list[str]:
    if not size or size >= len(names):
        return names
    drawn = np.random.default_rng(seed).choice(len(names), size, replace=False)
    return [names[index] for index in sorted(drawn)]


def _mutmut(folder: Path, *arguments: str, quiet: bool = False) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ONE_THREAD
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE if quiet else None)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout or ""


def _fates(folder: Path) -> dict[str, str]:
    """What became of each mutant: killed, survived, timeout, no tests, not checked."""
    lines = _mutmut(folder, "results", "--all", "true", quiet=True).splitlines()
    return {name.strip(): fate.strip() for name, _, fate in (line.rpartition(":") for line in lines)}


def _report(mutants: list[Mutant], fates: dict[str, str], room: str, n_mutants: int) -> None:
    listed = EQUIVALENT / f"{room}.toml"
    known = tomllib.loads(listed.read_text())["mutant"] if listed.exists() else []
    equivalent = {(one["function"], one["before"], one["after"]) for one in known}
    survivors = [mutant for mutant in mutants if fates[mutant.name] not in ("killed", "timeout", "segfault")]
    open_ones = [m for m in survivors if (m.function, m.before, m.after) not in equivalent]
    for mutant in open_ones:
        print(f"\n{fates[mutant.name]}: {mutant.name}  ({mutant.file}:{mutant.line}, {mutant.function})")
        print(f"  - {mutant.before}\n  + {mutant.after}")
    n_equivalent = len(survivors) - len(open_ones)
    n_killed, n_counted = len(mutants) - len(survivors), len(mutants) - n_equivalent
    share = n_killed / n_counted if n_counted else float("nan")
    print(
        f"\n{room}: {n_killed} of {n_counted} mutants killed, {share:.1%}; {n_equivalent} more are equivalent; "
        f"{len(mutants)} of {n_mutants} were tried"
    )


if __name__ == "__main__":
    main()
