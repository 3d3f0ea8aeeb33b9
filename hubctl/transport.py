"""One HTTP conversation with a hub: the token, retries of what may be repeated, problem answers as errors.

A hub that gives no answer is tried a few times; one that says "later" (503), because its database or store is away, is
waited for, three minutes or as long as `patience` says.

httpx is imported at the first request, so that `hubctl --help` starts without it.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hubctl.errors import Away, HubctlError, Unreachable, from_problem

if TYPE_CHECKING:
    import httpx

API = "/api/v1"
RETRIED = frozenset({429, 502, 503, 504})
TRIES = 5
PAUSE = 0.2
AWAY_SECONDS = 180.0


class Transport:
    """Requests below `url`/api/v1. GET, PUT and DELETE are tried `TRIES` times with growing pauses, POST once."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = 60.0, patience: float = AWAY_SECONDS
    ) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.timeout, self.patience = timeout, patience
        self._client: httpx.Client | None = None

    @property
    def client(self) -> "httpx.Client":
        """The connection pool, made at first use."""
        if self._client is None:
            import httpx

            headers = {"User-Agent": "hubctl", "Accept": "application/json"}
            if self.token:
                headers["Authorization"] = f"Bearer {self.token}"
            timeout = httpx.Timeout(self.timeout, connect=10.0)
            # A proxy of the environment is for other machines, never for a hub on this one.
            local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
            self._client = httpx.Client(headers=headers, timeout=timeout, trust_env=not local)
        return self._client

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def address(self, path: str) -> str:
        """The whole address of `path`, which may be whole already (a page's `next`) if it is of this hub."""
        if path.startswith(("http://", "https://")):
            if not path.startswith(f"{self.url}/"):
                # A hub behind a proxy may name itself otherwise; its path and query still hold.
                _, _, rest = path.partition("://")
                return f"{self.url}/{rest.partition('/')[2]}"
            return path
        return f"{self.url}{API}{path}"

    def json(self, method: str, path: str, *, repeat: bool | None = None, **options: Any) -> Any:
        """The parsed answer of one request; raises HubctlError for 400 and above, Unreachable without any answer."""
        import httpx

        may_repeat = method in ("GET", "PUT", "DELETE") if repeat is None else repeat
        last = TRIES - 1 if may_repeat else 0
        until = time.monotonic() + self.patience
        for attempt in itertools.count():
            try:
                response = self.client.request(method, self.address(path), **options)
            except httpx.InvalidURL as error:
                raise HubctlError(f"{self.url!r} is not the address of a hub: {error}") from None
            except httpx.UnsupportedProtocol:
                raise HubctlError(
                    f"{self.url!r} is not the address of a hub: begin it with http:// or https://"
                ) from None
            except httpx.TransportError as error:
                if attempt >= last:
                    raise self.unreachable(error) from None
                pause(attempt)
                continue
            waits = may_repeat and says_later(response) and time.monotonic() < until
            if waits or (response.status_code in RETRIED and attempt < last):
                pause(min(attempt, TRIES), response.headers.get("retry-after"))
                continue
            return self.parsed(response)

    def parsed(self, response: "httpx.Response") -> Any:
        """The answer's JSON, None where it is empty; raises for 400 and above."""
        try:
            body = response.json() if response.content else None
        except ValueError:
            body = None
            if response.is_success:
                raise HubctlError(f"{self.url} answers, but not as a hub: is the address right?") from None
        if response.status_code >= 400 or response.has_redirect_location:
            error = from_problem(response.status_code, body, str(response.url))
            if isinstance(error, Away):
                error.retry_after = response.headers.get("retry-after")
            raise error
        return body

    @contextmanager
    def stream(self, path: str, *, headers: dict[str, str], **options: Any) -> Iterator["httpx.Response"]:
        """A GET whose body is read piece by piece; raises like `json` for 400 and above.

        A hub that sends us to its store (302) has signed that address: the token stays behind, a Range goes along.
        """
        with self.client.stream("GET", self.address(path), headers=headers, **options) as response:
            if response.status_code == 302:
                with self._from_store(response.headers["location"], headers) as stored:
                    yield stored
                return
            if response.status_code >= 400 or response.has_redirect_location:
                response.read()
                self.parsed(response)
            yield response

    @contextmanager
    def _from_store(self, address: str, headers: dict[str, str]) -> Iterator["httpx.Response"]:
        """The answer of the hub's store. Away where it gives none, or refuses: the next address is signed anew."""
        import httpx

        request = self.client.build_request("GET", address, headers=headers)
        request.headers.pop("Authorization", None)
        where = f"the hub's store at {request.url.scheme}://{request.url.netloc.decode()}"
        try:
            response = self.client.send(request, stream=True)
        except httpx.TransportError as error:
            raise Away(f"{where} can't be reached: {str(error) or repr(error)}.", code="store.away") from None
        with contextlib.closing(response):
            if response.status_code >= 400 or response.has_redirect_location:
                message = f"{where} answered {response.status_code} for an address that the hub had signed."
                raise Away(message, code="store.refused", status=response.status_code)
            yield response

    def unreachable(self, error: Exception) -> Unreachable:
        """The error for a hub that doesn't answer, with its address and what to check."""
        import httpx

        why = "it did not answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or repr(error)
        return Unreachable(f"{self.url} can't be reached: {why}. Is the hub running, and the address right?")


def says_later(response: "httpx.Response") -> bool:
    """True for a hub that knows what is away, and asks to come back."""
    return response.status_code == 503 and "retry-after" in response.headers


class Waiting:
    """How long one transfer waits: `TRIES` failures in a row without an answer, and the patience of "later"."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.went_on()

    def went_on(self) -> None:
        """Bytes have come or gone: it counts anew."""
        self._failures, self._times = 0, 0
        self._until = time.monotonic() + self._transport.patience

    def again(self, error: Exception) -> None:
        """Pause before the next try; raises where there is none."""
        self._times += 1
        if isinstance(error, Away):
            if time.monotonic() > self._until:
                raise error
            pause(min(self._times, TRIES), error.retry_after)
            return
        self._failures += 1
        if self._failures >= TRIES:
            raise self._transport.unreachable(error) from None
        pause(self._failures)


def ask_again(code: str, ask: Callable[[], Any], *, seconds: float) -> Any:
    """The answer; while the hub refuses with `code`, which passes by itself, it is asked again for `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except HubctlError as error:
            if error.code != code or time.monotonic() > deadline:
                raise
        pause(3)


def pause(attempt: int, retry_after: str | None = None) -> None:
    """Wait before the next try: what the hub asked for (at most 30 s), else `PAUSE` seconds doubling to 3."""
    asked = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
    time.sleep(min(asked, 30.0) or min(PAUSE * 2**attempt, 3.0))
