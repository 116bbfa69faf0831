"""Runs for others: a card made from the records, a folder to hand on, the Hub."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
