from .envelope import Curve as Curve
from .envelope import Frontier as Frontier
from .envelope import frontier as frontier
from .pool import Pool as Pool
from .pool import draw_pool as draw_pool
