from .config import Config as Config
from .datasets.glyphs import Glyphs as Glyphs
from .datasets.symbol_images import SymbolImages as SymbolImages
from .evaluation.assessment import Assessment as Assessment
from .evaluation.assessment import assess as assess
from .evaluation.verdicts import Verdicts as Verdicts
from .evaluation.verdicts import judge as judge
from .experiment import Experiment as Experiment
from .experiment import run_experiment as run_experiment
from .foundations.records import read_record as read_record
from .foundations.settings import kind as kind
from .models.checkpoint import load_denoiser as load_denoiser
from .models.denoiser import FunctionDenoiser as FunctionDenoiser
from .models.oracles import BayesDenoiser as BayesDenoiser
from .models.oracles import ProductDenoiser as ProductDenoiser
from .probing.subject import open_subject as open_subject
from .probing.subject import subject_of as subject_of
from .probing.suite import run_probes as run_probes
from .report.build import report_samples as report_samples
from .report.checked import report_checked as report_checked
from .resolution import preset_names as preset_names
from .resolution import resolve as resolve
from .sampling.sampler import sample as sample
from .sampling.samples import load_samples as load_samples
from .training.loop import train as train
from .training.run_folder import RunFolder as RunFolder

__version__: str
