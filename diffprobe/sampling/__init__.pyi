from .given import Given as Given
from .sampler import sample as sample
from .samples import Samples as Samples
from .samples import load_samples as load_samples
from .samples import samples_name as samples_name
