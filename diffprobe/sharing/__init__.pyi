from .card import Card as Card
from .folder import lay_out as lay_out
from .hub import check_repository as check_repository
from .hub import push as push
