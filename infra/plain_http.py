"""For clients of services that speak plain HTTP, as all of this stack's do."""

from __future__ import annotations

import ssl

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For httpx's `verify`. By default each client reads all certificate authorities, 25 ms of a core, also for an http:// address; this
one trusts none, so an https:// address would be refused."""
