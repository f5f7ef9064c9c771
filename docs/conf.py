"""Sphinx configuration; ``make docs`` builds the pages into ``docs/_build/html``."""

from importlib.metadata import version as _version

project = "contraflow"
author = "the contraflow authors"
version = release = _version("contraflow")
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "contraflow"
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
