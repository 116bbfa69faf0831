from .along import Along as Along
from .cache import Keep as Keep
from .regions import Regions as Regions
from .subject import Subject as Subject
from .subject import open_subject as open_subject
from .subject import subject_of as subject_of
from .suite import ProbeResults as ProbeResults
from .suite import run_probes as run_probes
