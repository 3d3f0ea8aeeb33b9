"""Two organisations of one owner, and tokens that are limited to one place of them."""

from types import SimpleNamespace

from hub.access.limits import Limit, limit_of
from hub.models import Visibility
from hub.services import tokens
from tests.hub import factories
from tests.hub.api_client import Api

EVERYTHING = ["read", "write", "admin"]


def make_places(people, base) -> SimpleNamespace:
    """Two organisations of one owner: private lab/a, lab/b and den/c, public lab/shown; and tokens limited to each."""
    den = factories.make_organisation("den", admin=people.owner)
    where = {"a": people.lab, "b": people.lab, "c": den}
    for seed, (name, namespace) in enumerate(where.items()):
        hidden = {"base": base, "namespace": namespace, "seed": seed, "visibility": Visibility.PRIVATE}
        factories.make_version(people.owner, name, **hidden)
    factories.make_version(people.owner, "shown", base=base, namespace=people.lab, seed=9)

    def token(scopes=EVERYTHING, **limit: str) -> Api:
        return Api(secret=tokens.create_token(actor=people.owner, name="t", scopes=scopes, **limit)[1])

    return SimpleNamespace(owner=people.owner, lab=people.lab, den=den, token=token)


def limit_behind(api: Api) -> Limit | None:
    """The limit of the token that the client sends."""
    return limit_of(tokens.token_user(api.headers["Authorization"].split()[1]))
