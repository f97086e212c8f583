"""Sphinx configuration; nothing here needs the network."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

warnings.filterwarnings("ignore", "'sphinx_autodoc_typehints", category=DeprecationWarning)  # what Sphinx 10 removes

about = metadata("jamie-tools")
project = "jamie"
author = "The jamie developers"
project_copyright = author
release = version = about["Version"]
repository = dict(entry.split(", ") for entry in about.get_all("Project-URL"))["Source"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "generated_tables",
    "sibling_notebooks",
    "slots_in_returns",
]
templates_path = ["_templates"]
exclude_patterns = ["benchmark/*.md", "_build", "**.ipynb_checkpoints", "generated/tables"]
default_role = "literal"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "tasklist"]
myst_heading_anchors = 3
nb_execution_mode = "off"

autosummary_generate = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
typehints_defaults = "braces"
always_use_bars_union = True

# Python's own objects and those of other packages are named, not linked: their inventories lie on the network. Where
# pages are published it may be used.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(anndata|matplotlib|mudata|numpy|pandas|scipy|shap|sklearn|torch)\..*"),
    ("py:.*", r"(collections|dataclasses|pathlib|typing)\..*"),
    ("py:class", r"(bool|dict|float|int|list|object|str|tuple)"),
    ("py:.*", r"None|Ellipsis|(Key|Type|Value|FileNotFound)Error"),
    ("py:class", r"jamie\.(_types\.|(data|get|metrics|model|train)\._).*"),  # named in signatures only
]
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "mudata": ("https://mudata.readthedocs.io/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
    }

html_theme = "sphinx_book_theme"
html_title = f"jamie {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"repository_url": repository, "use_repository_button": True, "show_toc_level": 2}
