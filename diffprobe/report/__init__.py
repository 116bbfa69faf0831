"""The report: pages, tables and figures that say what training, evaluation and probes found."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
