from .following import train as train
from .trackers import check_trackers as check_trackers
