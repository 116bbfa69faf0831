from .config import Config as Config
from .config import preset_names as preset_names
from .config import resolve as resolve
from .evaluation.assessment import assess as assess
from .evaluation.verdicts import judge as judge
from .foundations.records import read_record as read_record
from .foundations.settings import kind as kind
from .models.checkpoint import load_denoiser as load_denoiser
from .probing.subject import open_subject as open_subject
from .probing.suite import run_probes as run_probes
from .report.build import report_samples as report_samples
from .training.loop import train as train
from .training.run_folder import RunFolder as RunFolder

__version__: str
