from .config import Config as Config
from .config import preset_names as preset_names
from .config import resolve as resolve
from .foundations.settings import kind as kind
from .models.checkpoint import load_denoiser as load_denoiser
from .training.loop import train as train
from .training.run_folder import RunFolder as RunFolder

__version__: str
