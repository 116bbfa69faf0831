from .along import Along as Along
from .cache import Keep as Keep
from .opening import open_subject as open_subject
from .opening import subject_of as subject_of
from .regions import Regions as Regions
from .subject import Subject as Subject
from .suite import ProbeResults as ProbeResults
from .suite import run_probes as run_probes
