"""Sphinx configuration. Builds without a network: ``python -m sphinx -W -b html docs OUT``."""

import os

import cubecrop

# The code of a page runs on one core, so that it does not slow down other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "cubecrop"
author = "The cubecrop developers"
release = version = cubecrop.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"cubecrop {release}"
html_static_path = ["_static"]

myst_enable_extensions = ["colon_fence", "deflist"]
#: Headings of levels 1 and 2 get anchors, so that pages can link to them.
myst_heading_anchors = 2
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

# Docstrings write names in single backticks, as NumPy's do.
default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
