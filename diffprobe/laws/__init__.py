"""Laws of loss curves: fit them to trainings, foretell others, find the best schedule."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
