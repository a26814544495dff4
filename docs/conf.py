"""Sphinx configuration. Builds without a network: ``python -m sphinx -W -b html docs OUT``."""

import os

import cubecrop

# Pages run in the order of their names; what they need of a machine is one core.
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
#: Links between pages may name a heading of the second level.
myst_heading_anchors = 2
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

# Names in single backticks, as NumPy-style docstrings write them.
default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
