"""The body of a server-side apply: JSON that is YAML as well, for the API server reads it as YAML."""

import json
import re

from parley.kube.client import JsonObject

APPLY = "application/apply-patch+yaml; charset=utf-8"
"""With its charset the package sends the body as it is; without, it would write it by itself, as plain JSON."""

_NOT_ASCII = re.compile(r"[\x7f-\uffff]")


def applied_body(body: JsonObject) -> str:
    r"""Write an object so that YAML reads the same of it as JSON.

    JSON escapes what is beyond ``\uffff``, such as an emoji, as two surrogates, which YAML refuses: it stands as it is.
    YAML refuses control characters that JSON lets stand: they are escaped. Half a surrogate pair becomes U+FFFD.
    Source: https://yaml.org/spec/1.2.2/#chapter-5-character-productions
    """
    return _NOT_ASCII.sub(_escaped, json.dumps(body, ensure_ascii=False, separators=(",", ":")))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"
