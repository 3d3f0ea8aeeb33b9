"""Webhooks as a way into the hub's own network: no address, in no spelling, leads there."""

import socket
import threading
import time
from ipaddress import ip_address, ip_network

import pytest

from hub.errors import Invalid
from hub.models import Delivery, Outbox
from hub.services import outbox
from hub.services.webhooks import addresses, exchange, registry
from hub.services.webhooks.addresses import Refused, check_url, is_allowed, resolve

NEVER = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "2001::7f00:1",
    "64:ff9b::7f00:1",
    "2001:db8::1",
    "fec0::1",
    "feff::1",
    "::7f00:1",
    "::a00:1",
    "::ffff:0:7f00:1",
    "64:ff9b:1::7f00:1",
    "4000::1",
]
SPELLINGS = [
    "https://127.1/",
    "https://0x7f.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://[::ffff:7f00:1]/",
]
WRONG = [
    "",
    "example.org",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "http://example.org/",
    "https:///path",
    "https://user:word@example.org/",
    "https://user@example.org/",
    "https://example.org/#fragment",
    "https://example.org:0/",
    "https://example.org:99999/",
    "https://exa mple.org/",
    "https://example.org/\r\nHost: inside",
    "https://exämple.org/",
    "https://[::1/",
    "https://example.org/" + "x" * 1000,
]


@pytest.mark.parametrize("address", NEVER)
def test_no_address_inside_a_network_is_allowed(address):
    assert not is_allowed(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_the_internet_is(address):
    assert is_allowed(ip_address(address))


@pytest.mark.parametrize("url", SPELLINGS + WRONG)
def test_such_an_address_is_refused_when_it_is_given(url):
    with pytest.raises(Invalid) as refusal:
        check_url(url)
    assert refusal.value.code == "webhook.url"


def test_the_advice_of_the_refusal_is_good():
    assert check_url("https://host/path").hostname == "host"


@pytest.mark.parametrize("found", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["::1"], ["fe80::1%eth0"]])
def test_a_name_that_leads_inside_is_refused_when_it_is_sent(monkeypatch, found):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in found]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(Refused, match="private network"):
        resolve(check_url("https://inside.example.org/"), seconds=10)


def test_a_name_that_can_not_be_looked_up_is_refused():
    with pytest.raises(Refused, match="can't be looked up"):
        resolve(check_url("https://does-not-exist.invalid/"), seconds=30)


@pytest.mark.django_db
def test_name_servers_that_answer_slowly_take_no_more_time_than_a_receiver(people, monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: answered.wait(30))
    monkeypatch.setattr(exchange, "SECONDS", 0.2)
    webhook, _ = registry.add_webhook(actor=people.owner, namespace=people.lab, url="https://slow.example.org/")
    registry.ping(actor=people.owner, webhook=webhook)
    before = time.monotonic()
    outbox.drain()
    answered.set()
    assert time.monotonic() - before < 5
    assert "name servers are too slow" in Delivery.objects.get().error


@pytest.mark.django_db
def test_a_name_that_changes_after_the_check_is_asked_once(people, monkeypatch):
    """The connection goes to the address that was checked, so that a second answer is never asked for."""
    asked, connected = [], []

    def look_up(host, port, **_):
        asked.append(host)
        address = "1.1.1.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address, *_, **__):
        connected.append(address[0])
        raise OSError("no such network in a test")

    webhook, _ = registry.add_webhook(actor=people.owner, namespace=people.lab, url="https://turns.example.org/")
    registry.ping(actor=people.owner, webhook=webhook)
    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    outbox.drain()
    assert (asked, connected) == (["turns.example.org"], ["1.1.1.1"])
    assert Delivery.objects.get().status is None
    assert Outbox.objects.filter(sent_at=None).exists()


def test_an_operator_opens_their_own_networks_and_no_others(settings):
    settings.WEBHOOK_NETWORKS = [ip_network("10.1.0.0/16")]
    assert is_allowed(ip_address("10.1.2.3")) and is_allowed(ip_address("::ffff:10.1.2.3"))
    assert not is_allowed(ip_address("10.2.2.3")) and not is_allowed(ip_address("127.0.0.1"))
    assert resolve(check_url("http://10.1.2.3:8080/in"), seconds=10) == "10.1.2.3"
    with pytest.raises(Refused, match="without https"):
        resolve(check_url("http://1.1.1.1/"), seconds=10)
