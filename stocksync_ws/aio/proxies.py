"""The words of proxies about a request: whose it is, how it came, and for which host.

Rule: `Forwarded` (RFC 7239) and `X-Forwarded-For`, `-Proto`, `-Host` are read only when the peer is
a trusted proxy, and from the right: what a trusted proxy has added is believed, what stands left of
the first address that is not trusted, or not told, is the client's own word. A proxy sets one kind
and may pass the other on as the client sent it: where they name different clients, neither is
believed. Without trusted proxies nothing is read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.types import HttpRequest

__all__ = ["TrustedProxies"]

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
Hop: TypeAlias = dict[str, str]
"""The words of one proxy: `for`, `proto`, `host`."""

_PAIR = re.compile(r"\s*([A-Za-z]+)=(\"[^\"]*\"|[^;,\"\s]*)\s*(?:[;,]|$)")
_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")


class TrustedProxies:
    """From a request as it came to the request as the client made it.

    Args:
        trusted: Addresses and networks, such as `10.0.0.0/8`; `unix` for whoever connects to a Unix
            socket.

    Raises:
        ConfigurationError: One is neither.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._unix = "unix" in trusted
        self._networks: list[Network] = []
        for each in trusted:
            if each == "unix":
                continue
            try:
                self._networks.append(ipaddress.ip_network(each))
            except ValueError as error:
                raise ConfigurationError(
                    f"trusted_proxies: {each!r} is no address and no network ({error})"
                ) from None

    def __call__(self, request: HttpRequest) -> HttpRequest:
        """The request with the peer, the scheme and the Host of its client."""
        if not self._trusts(request.peer):
            return request
        kinds = (_forwarded(request), _x_forwarded(request))
        told = [seen for hops in kinds if (seen := self._follow(hops, request)) is not None]
        if len({_host(seen.peer) for seen in told}) != 1:
            return request
        return told[0]

    def _follow(self, hops: Iterable[Hop], request: HttpRequest) -> HttpRequest | None:
        """From the nearest proxy to the client; None where nothing was told."""
        peer, proto, host, any_told = request.peer, None, None, False
        for hop in hops:
            any_told = True
            told = _peer(hop.get("for"))
            peer = told or peer
            proto = hop.get("proto") or proto
            host = hop.get("host") or host
            if told is None or not self._trusts(told):
                break
        if not any_told:
            return None
        headers = request.headers
        if host is not None and _HOST.fullmatch(host):
            headers = (*((n, v) for n, v in headers if n != "host"), ("host", host))
        secure = request.secure if proto is None else proto.lower() in ("https", "wss")
        return replace(request, peer=peer, secure=secure, headers=headers)

    def _trusts(self, peer: str | None) -> bool:
        if peer is None:
            return self._unix
        try:
            address = ipaddress.ip_address(_host(peer))
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)


def _host(peer: str | None) -> str:
    """The address of a peer without its port; none has an empty one."""
    return (peer or "").rpartition(":")[0].strip("[]")


def _forwarded(request: HttpRequest) -> Iterable[Hop]:
    """The words of the proxies in `Forwarded`, the nearest first."""
    return reversed(_parse(",".join(request.all("forwarded"))))


def _x_forwarded(request: HttpRequest) -> Iterator[Hop]:
    """The words of the proxies in `X-Forwarded-`, the nearest first."""
    columns = {
        name: _items(request.all(f"x-forwarded-{name}")) for name in ("for", "proto", "host")
    }
    for place in range(max(map(len, columns.values()))):
        yield {name: items[-1 - place] for name, items in columns.items() if place < len(items)}


def _items(values: Sequence[str]) -> list[str]:
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def _parse(text: str) -> list[Hop]:
    """The elements of `Forwarded`; none when one is malformed."""
    hops: list[Hop] = [{}] if text else []
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            return []  # Nobody knows where the next element begins.
        hops[-1][match[1].lower()] = match[2].strip('"')
        at = match.end()
        if text[at - 1 : at] == ",":
            hops.append({})
    return hops


def _peer(node: str | None) -> str | None:
    """A node identifier as `host:port`; None for `unknown` and hidden ones (RFC 7239 §6)."""
    if not node:
        return None
    host, port = node, ""
    if node.startswith("["):
        host, _, rest = node[1:].partition("]")
        port = rest[1:]
    elif node.count(":") == 1:
        host, _, port = node.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return f"{host}:{port if port.isascii() and port.isdecimal() else 0}"
