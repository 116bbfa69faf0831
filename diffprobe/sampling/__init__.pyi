from .given import Given as Given
from .of_checkpoint import sample_checkpoint as sample_checkpoint
from .of_checkpoint import sampled_before as sampled_before
from .sampler import sample as sample
from .samples import Samples as Samples
from .samples import load_samples as load_samples
from .samples import samples_name as samples_name
