from .claims import Claim as Claim
from .grid import Grid as Grid
from .grid import read_grid as read_grid
from .study import Study as Study
from .study import run_study as run_study
from .table import StudyTable as StudyTable
from .verdicts import Verdict as Verdict
