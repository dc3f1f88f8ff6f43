"""What pods that ask a language model may reach, as far as a NetworkPolicy can say it.  Pure.

A policy knows addresses and labels and no host names, so an address of the API becomes

* an IP literal: that address and its port, and no name resolution,
* a Service of the cluster: every TCP port of the pods of its namespace, because policies are applied behind the Service,
  where the port is the pods' own, and the controller has no right to look it up,
* any other host: its port anywhere but link-local, where clouds hand out the credentials of a node; for OpenAI's own host
  not on private addresses either.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from controller.api import Document
from poise_lib.errors import InvalidInputError
from poise_lib.llm.config import DEFAULT_URL
from poise_lib.resources.llm import LLMSettings

LINK_LOCAL: Final = {"0.0.0.0/0": ("169.254.0.0/16",), "::/0": ("fe80::/10", "fd00:ec2::/32")}
"""By all of a family: where clouds hand out the credentials of a node."""
PRIVATE: Final = {
    "0.0.0.0/0": ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    "::/0": ("fc00::/7",),
}
"""By all of a family: a cluster's and a company's own."""
NAMES: Final[Document] = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
"""Name resolution, wherever it is: node-local caches have link-local addresses."""
_NAMESPACE: Final = "kubernetes.io/metadata.name"
_CLOUD: Final = ipaddress.ip_network("fd00:ec2::/32")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def anywhere(*, private: bool = True) -> list[Document]:
    """Peers of a rule: every address but link-local ones, and perhaps but private ones."""
    blocks = []
    for family, excluded in LINK_LOCAL.items():
        apart = [*excluded, *(() if private else PRIVATE[family])]
        if not private:  # the wider one says it
            apart = [cidr for cidr in apart if cidr != str(_CLOUD)]
        blocks.append({"ipBlock": {"cidr": family, "except": apart}})
    return blocks


def rules(settings: LLMSettings) -> list[Document]:
    """Egress rules for whoever asks this model.

    Raises:
        InvalidInputError: the address is none, or one that no pod should ask.
    """
    url = settings.base_url or DEFAULT_URL
    host, port = _target(url)
    address = _literal(host)
    if address is not None:
        _check(url, address)
        cidr = f"{address}/{address.max_prefixlen}"
        return [{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": port}]}]
    if host == "localhost" or host.endswith(".localhost"):
        raise InvalidInputError(_unfit(url, "is the pod itself: name a Service, or a host outside of the pod"))
    if (peer := _within(host)) is not None:
        return [NAMES, {"to": [peer], "ports": [{"protocol": "TCP"}]}]
    peers = anywhere(private=host != urlsplit(DEFAULT_URL).hostname)
    return [NAMES, {"to": peers, "ports": [{"protocol": "TCP", "port": port}]}]


def _target(url: str) -> tuple[str, int]:
    """Host and port."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise InvalidInputError(_unfit(url, f"is no address: {error}")) from error
    if not host:
        raise InvalidInputError(_unfit(url, "names no host"))
    return host, port or (80 if parts.scheme == "http" else 443)


def _literal(host: str) -> _Address | None:
    """The address that a host is, if it is one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _check(url: str, address: _Address) -> None:
    if address.is_link_local or address in _CLOUD:
        raise InvalidInputError(_unfit(url, "is link-local, where clouds hand out the credentials of a node"))
    if address.is_loopback or address.is_unspecified:
        raise InvalidInputError(_unfit(url, "is the pod itself: name a Service, or a host outside of the pod"))
    if address.is_multicast:
        raise InvalidInputError(_unfit(url, "is no single host"))


def _within(host: str) -> Document | None:
    """The pods behind a Service's name; None for a host outside of the cluster."""
    name = host.removesuffix(".cluster.local")
    labels = name.split(".")
    if len(labels) == 1:
        return {"podSelector": {}}
    if labels[-1] == "svc" and len(labels) >= 3:
        return {"namespaceSelector": {"matchLabels": {_NAMESPACE: labels[-2]}}}
    return None


def _unfit(url: str, why: str) -> str:
    return f"proposer.llm.baseURL: {url} {why}"
