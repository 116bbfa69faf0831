"""Pages shown in a notebook: each in a frame of its own, with no file and no network behind it."""

import html
from abc import ABC, abstractmethod


class Framed(ABC):
    """A result that a notebook shows as its page."""

    @abstractmethod
    def framed(self) -> str:
        """Return the page, a whole HTML document that needs nothing else."""

    def _repr_html_(self) -> str:
        """What a notebook shows.

        The notebook holds all of the page, which lives in a frame and cannot reach out of it: its
        scripts do not see the notebook, and its styles do not change it.
        """
        # Else a link to a place in the page leads the frame to the notebook, whose address it has.
        page = self.framed().replace('href="#', 'href="about:srcdoc#')
        return (
            f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" '
            f'title="{html.escape(repr(self))}" style="display: block; box-sizing: border-box; '
            'width: 100%; height: 44rem; max-height: 90vh; border: 1px solid #8888"></iframe>'
        )
