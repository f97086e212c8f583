"""Let a notebook link to the one beside it.

The folder of notebooks is linked into that of the pages. MyST looks for what a page links to beside the page's real
path, and notebooks there are no pages; a role finds them by name.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx


def by_name(app: Sphinx, docname: str, source: list[str]) -> None:
    """Read `[text](name.ipynb)` of a notebook as a reference to that page."""
    if docname.startswith("tutorials/"):
        source[0] = re.sub(r"\[([^][]+)\]\((\w+)\.ipynb\)", r"{doc}`\1 </tutorials/\2>`", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect."""
    app.connect("source-read", by_name)
    return {"parallel_read_safe": True}
