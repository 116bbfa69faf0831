from .loop import train as train
from .replicas import replica_configs as replica_configs
from .replicas import replica_path as replica_path
from .replicas import train_replicas as train_replicas
from .run_folder import Branch as Branch
from .run_folder import RunFolder as RunFolder
