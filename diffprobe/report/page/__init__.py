"""The report as one HTML page that needs nothing else: no network, no other file.

template.html   the text; numbers are in it, so that it reads without JavaScript
checked.html    the page on images without a grammar
style.css       light, dark and print
page.js         what the two scripts share
gallery.js      samples to filter and to look into
explorer.js     who listens to whom, at any noise level and training step
"""

from diffprobe.report.page.explorer import explorer_data
from diffprobe.report.page.gallery import Gallery
from diffprobe.report.page.page import Figure, render

__all__ = ["Figure", "Gallery", "explorer_data", "render"]
