"""How much the front takes, and for how long it waits."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

KB, MB = 1 << 10, 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes are bytes, times seconds, rates bytes a second. `docs/serving.md` names the settings behind them."""

    threads: int = 32
    waiting: int = 256  # requests that wait for a thread
    wait_seconds: float = 10.0
    grace: float = 10.0  # silence that is forgiven, in bodies and in readers
    rate: int = KB  # least rate after it
    text_seconds: float = 60.0  # the longest a body of JSON or a form may take per 5 MB
    memory: int = 256 * MB  # bodies and pieces of answers held in memory, all together
    spool: int = 50_000 * MB  # bodies held in temporary files, all together
    spool_folder: str | None = None
    in_memory: int = MB  # a body beyond this goes to a temporary file
    json: int = 5_000_000
    form: int = 100 * MB
    file: int = 20_000_000_000
    piece: int = 8 * MB  # an upload is handed over in pieces of at most this
    block: int = 64 * KB  # an answer is read in blocks of at least this
    connections: int = 4000  # requests under way, all together
    per_address: int = 200  # bodies under way, and as many answers, and as many event streams
    per_user: int = 100  # the same of one user or token, from whatever addresses
    trusted: tuple[IPv4Network | IPv6Network, ...] = field(default=())
