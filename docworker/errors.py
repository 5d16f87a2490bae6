"""The exception tree. Owns every error docworker raises on purpose; knows nothing else.

DocworkerError               str(error) is one sentence that a person can act on
├── InvalidRequest           the caller's input is wrong                          HTTP 400
├── SettingsError            a setting is unknown or out of range                 exit 2
├── Unauthorized             the token is missing or wrong                        HTTP 401
├── Forbidden                a Host or Origin that is not ours, a seed inside     HTTP 403
├── NotFound                 unknown docset, page or route                        HTTP 404
├── Conflict                 the request contradicts what is stored               HTTP 409
├── TooSlow                  the request body does not come                       HTTP 408
├── TooLarge                 the request body is over the limit                   HTTP 413
├── NotJson                  the request body is not JSON by its content type     HTTP 415
├── SiteFailed               the documentation site failed                        HTTP 502
├── Unavailable              starting, stopping or busy; try again                HTTP 503
├── AlreadyRunning           another docworker has the data folder or the port    exit 1
├── StoreError               the data folder cannot be used                       HTTP 503, exit 1
│   └── ShelfDamaged         the shelf cannot be read; it is made again           HTTP 503
├── ExtractionFailed         a page could not be turned into text                 page `error`
└── ModelUnavailable         no embedding model can be had now                    BM25 alone
"""


class DocworkerError(Exception):
    """Base of all errors that docworker raises on purpose."""


class InvalidRequest(DocworkerError):
    """The caller's input is wrong; the message names the field and what was expected."""


class SettingsError(DocworkerError):
    """A setting is unknown, malformed or out of range."""


class Unauthorized(DocworkerError):
    """The daemon asks for a token, and the request has none, or another one."""


class Forbidden(DocworkerError):
    """The request came with a Host or an Origin that this daemon does not serve, or names a site where it must not go."""


class NotFound(DocworkerError):
    """The docset, page or route does not exist."""


class Conflict(DocworkerError):
    """The request contradicts what is stored."""


class TooSlow(DocworkerError):
    """The request body did not come in time."""


class TooLarge(DocworkerError):
    """The request body is over the limit."""


class NotJson(DocworkerError):
    """The request body is not declared as JSON."""


class SiteFailed(DocworkerError):
    """The documentation site could not be reached or answered with nothing usable."""


class Unavailable(DocworkerError):
    """The daemon is starting, stopping or busy; the same request may be sent again soon."""


class AlreadyRunning(DocworkerError):
    """Another docworker holds the data folder, or something else the port."""


class StoreError(DocworkerError):
    """The data folder, the catalog or the shelf cannot be used."""


class ShelfDamaged(StoreError):
    """Files of the shelf are missing or damaged; it can be made again from the catalog."""


class ExtractionFailed(DocworkerError):
    """A page could not be turned into text."""


class ModelUnavailable(DocworkerError):
    """No embedding model can be had now; the message says what was tried."""
