from .loop import train as train
from .run_folder import Branch as Branch
from .run_folder import RunFolder as RunFolder
