"""The report as one HTML page that needs nothing else: no network, no other file.

template.html   the text; numbers are in it, so that it reads without JavaScript
checked.html    the page on images without a grammar
explorer.html   the explorer alone
framed.py       pages shown in a notebook
style.css       light, dark and print
glossary.py     its words, explained
figures.py      pictures that follow the reader's theme
page.js         what the two scripts share, and explanations that open by touch
gallery.js      samples to filter and to look into
explorer.js     who listens to whom, at any noise level and training step
"""

from diffprobe.report.page.explorer import explorer_data
from diffprobe.report.page.figures import Figure, figures_in
from diffprobe.report.page.framed import Framed
from diffprobe.report.page.gallery import Gallery
from diffprobe.report.page.page import render, render_explorer

__all__ = [
    "Figure",
    "Framed",
    "Gallery",
    "explorer_data",
    "figures_in",
    "render",
    "render_explorer",
]
