"""Which addresses tools may connect to, in all the forms an address has."""

import pytest
from parley.runner.tools.addresses import refusal

ALWAYS = [
    "127.0.0.1",
    "127.8.9.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::7f00:1",
    "2001:0:7f00:1::",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "ff02::1",
]
LINK_LOCAL = [
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "64:ff9b::a9fe:a9fe",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "fd00:0ec2:0:0:0:0:0:0254",
    "fd20:ce::254",
    "100.100.100.200",
    "::ffff:100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
]
ALLOWED = [
    "10.0.0.1",
    "172.16.4.4",
    "192.168.1.1",
    "8.8.8.8",
    "100.100.100.201",
    "2606:4700::1",
    "fd00::1",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", ALWAYS)
def test_the_pods_own_addresses_are_refused_whatever_the_agent_says(address: str) -> None:
    assert refusal(address)
    assert refusal(address, allow_link_local=True)


@pytest.mark.parametrize("address", LINK_LOCAL)
def test_link_local_and_metadata_addresses_are_refused_unless_the_agent_allows_them(address: str) -> None:
    assert refusal(address)
    assert refusal(address, allow_link_local=True) is None


@pytest.mark.parametrize("address", ALLOWED)
def test_all_others_are_allowed(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f.0.0.1"])
def test_what_is_no_address_is_refused_for_the_resolver_knows_only_addresses(text: str) -> None:
    assert refusal(text) == "is no address"
