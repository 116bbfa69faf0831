"""How the site is built: `make docs` makes it of docs/, strictly, so that a dead link ends it."""

import sys
from pathlib import Path

import diffprobe

sys.path.insert(0, str(Path(__file__).parent))

project = "diffprobe"
author = "the authors of diffprobe"
version = release = diffprobe.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "pages",
]
root_doc = "index"
exclude_patterns = ["sphinx", "**/.ipynb_checkpoints"]

# The pages are written for GitHub, too: its names of headings, and blocks of output as they are.
myst_heading_anchors = 6
myst_enable_extensions = ["colon_fence"]
highlight_language = "none"
pygments_style = "default"
pygments_dark_style = "github-dark"

# Tutorials hold no outputs: they are run when the site is built, each in an empty folder.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 180
nb_execution_show_tb = True
nb_output_stderr = "remove"  # libraries that would rather show their progress in widgets
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # would be fetched from elsewhere

# What a page refers to must be there; types in signatures are described elsewhere, by others.
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]

# Docstrings write `code` with one backtick, and shapes where they write types.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "References")]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"diffprobe {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
