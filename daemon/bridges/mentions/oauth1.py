"""The signature of OAuth 1.0a (RFC 5849) with HMAC-SHA1, as X takes it: for a token that does not expire. Pure."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class OAuth1Keys:
    """The four texts of an account's application, all secret."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    token: str = field(repr=False)
    token_secret: str = field(repr=False)


def sign_request(keys: OAuth1Keys, method: str, url: str, query: Mapping[str, str], nonce: str, timestamp: int) -> str:
    """Returns the Authorization header of a request. `url` is without its query; a body of JSON is not signed."""
    own = {
        "oauth_consumer_key": keys.api_key,
        "oauth_nonce": nonce,
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(timestamp),
        "oauth_token": keys.token,
        "oauth_version": "1.0",
    }
    pairs = sorted((_escape(name), _escape(value)) for name, value in {**query, **own}.items())
    parameters = "&".join(f"{name}={value}" for name, value in pairs)
    base = "&".join((method.upper(), _escape(url), _escape(parameters)))
    secret = f"{_escape(keys.api_secret)}&{_escape(keys.token_secret)}"
    own["oauth_signature"] = base64.b64encode(hmac.new(secret.encode(), base.encode(), sha1).digest()).decode()
    return "OAuth " + ", ".join(f'{name}="{_escape(value)}"' for name, value in sorted(own.items()))


def _escape(text: str) -> str:
    return quote(text, safe="-._~")
