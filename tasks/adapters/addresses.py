"""Addresses that are secrets: what is checked before they are used, and how a failed connection is named without them.

What does not belong here: requests, and what an endpoint answers.
"""

import http.client
import ipaddress
import ssl
import urllib.error
from urllib.parse import urlsplit

from models_lib.errors import ConfigError, NotificationError, TransientError


def check_web_address(url: str, *, variable: str) -> None:
    """Refuses an address that is none, or that would send a secret in clear over a network.

    Raises:
        ConfigError: with the variable's name; never with its value.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("https", "http"):
        raise ConfigError(f"{variable} does not hold a web address. It must begin with https:// and name a host.")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ConfigError(f"{variable} holds an http:// address, which anybody on the way can read. Use https://.")


def connection_failure(error: Exception, *, whom: str, remedy: str) -> TransientError | NotificationError:
    """What a failed connection means.

    Args:
        error: what urllib, smtplib or ssl raised; its text may hold the address, so only its kind is told.
        whom: who was called, in words.
        remedy: what to do about a certificate that is not trusted.
    """
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    match cause:
        case ssl.SSLCertVerificationError():
            return NotificationError(
                f"{whom} shows a certificate that is not trusted ({cause.verify_message}). {remedy}"
            )
        case TimeoutError():
            return TransientError(f"{whom} did not answer within the time limit.")
        case OSError(strerror=str() as fact) if not isinstance(cause, ssl.SSLError):
            return TransientError(f"{whom} cannot be reached ({fact}).")
        case OSError() | http.client.HTTPException():
            return TransientError(f"{whom} broke the connection off ({type(cause).__name__}).")
        case _:
            return NotificationError(f"nothing could be sent to {whom} ({type(cause).__name__}). Check its address.")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
