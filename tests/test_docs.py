"""The pages name what the package has: no function, slot or option is left out."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import jamie as jm
from jamie._keys import Keys
from jamie.cli import _parser
from jamie.train import RECIPES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROOMS = ("datasets", "get", "metrics", "pl", "pp", "tl")
FUNCTIONS = [f"{room}.{name}" for room in ROOMS for name in getattr(jm, room).__all__]


def slots(keys=Keys()):  # noqa: B008 - frozen
    """Every slot name, with `<a>` where a modality or measure stands."""
    for name, member in vars(Keys).items():
        if isinstance(member, property):
            yield getattr(keys, name)
        elif inspect.isfunction(member) and not name.startswith("_"):
            arguments = [f"<{parameter}>" for parameter in inspect.signature(member).parameters if parameter != "self"]
            yield member(keys, *arguments)


def options(parser):
    """Option strings of a parser and its commands."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option not in ("-h", "--help"))
        for command in (action.choices or {}).values() if hasattr(action, "_name_parser_map") else ():
            yield from options(command)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_a_page(name):
    assert re.search(rf"^   {re.escape(name)}$", (DOCS / "api.md").read_text(), re.MULTILINE)


def test_every_name_of_the_package_is_in_the_api():
    text = (DOCS / "api.md").read_text()
    assert [name for name in jm.__all__ if name not in text] == []


def test_pages_of_functions_that_are_gone_are_gone():
    listed = re.findall(r"^   ((?:\w+\.)\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(FUNCTIONS)


@pytest.mark.parametrize("slot", list(slots()))
def test_every_slot_is_in_the_data_model(slot):
    rows = [line for line in (DOCS / "data_model.md").read_text().splitlines() if line.startswith("| `")]
    assert any(f"`{slot}`" in row for row in rows)


def test_every_key_was_found():
    assert {"jamie", "X_jamie", "jamie_split", "jamie_known_<a>_<b>", "jamie_imputed_<target>"} <= set(slots())


@pytest.mark.parametrize("option", sorted(set(options(_parser()))))
def test_every_option_is_on_the_page_of_the_command_line(option):
    assert re.search(rf"`[^`]*{option}\b", (DOCS / "cli.md").read_text())


@pytest.mark.parametrize("name", [*FUNCTIONS, "JAMIE", "jamie run", "jamie demo"])
def test_changelog_names_every_function(name):
    room, _, function = name.rpartition(".")
    text = (ROOT / "CHANGELOG.md").read_text()
    paragraph = "|".join(re.findall(rf"^- .*(?:\n  .*)*{re.escape(room)}.*(?:\n  .*)*", text, re.MULTILINE))
    assert f"`{name}`" in text or f"`{function}`" in paragraph


def test_recipes_and_data_sets_are_listed_from_the_package(tmp_path):
    sys.path.insert(0, str(DOCS / "_extensions"))
    try:
        import generated_tables
    finally:
        sys.path.remove(str(DOCS / "_extensions"))
    recipes = list(generated_tables.recipes())
    assert recipes[0] == '| setting | `"default"` | `"integrate"` | `"paper"` | meaning |'
    comps = " | ".join(str(RECIPES[name].n_comps) for name in ("default", "integrate", "paper"))
    assert f"| `n_comps` | {comps} |" in "\n".join(recipes)
    assert all(len(row.split(" | ")) == 5 for row in recipes)
    assert sum("patchseq_motor_cortex" in row for row in generated_tables.datasets()) == 1


def test_the_table_of_the_readme_is_that_of_the_records():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import accuracy_report
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    records = pd.read_csv(DOCS / "benchmark" / "accuracy.csv")
    table = accuracy_report.summary(records[records["section"].isin(["held-out", "paper", "peers"])])
    assert len(table.splitlines()) == 2 + 16
    assert table in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_documentation_builds_without_a_warning(tmp_path):
    for package in ("sphinx", "myst_nb", "sphinx_autodoc_typehints", "sphinx_book_theme", "sphinx_copybutton"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install --group doc")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-d",
            tmp_path / "doctrees",
            DOCS,
            tmp_path / "html",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "generated" / "jamie.tl.train.html").is_file()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_equations_hold_no_code(page):
    """A backtick within an equation is not code but an error where it is drawn."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [equation for equation in re.findall(r"\$\$(.*?)\$\$", prose, re.DOTALL) if "`" in equation] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
