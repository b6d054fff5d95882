"""Every error that Quorum names, with its HTTP status and its stable code.

    QuorumError
    ├── RequestError                   the caller can mend it
    │   ├── InvalidRequestError        422  invalid_request
    │   │   ├── InvalidLabelsError     422  invalid_labels
    │   │   ├── InvalidExamplesError   422  invalid_examples
    │   │   ├── InvalidFilterError     422  invalid_filter
    │   │   ├── InvalidItemError       422  invalid_item
    │   │   └── UnknownBackboneError   422  unknown_backbone
    │   ├── MalformedBodyError         400  malformed_body
    │   ├── InvalidImageError          400  invalid_image
    │   ├── InvalidTextError           400  invalid_text
    │   ├── UnauthorizedError          401  unauthorized
    │   ├── InsufficientScopeError     403  insufficient_scope
    │   ├── NotFoundError              404  not_found
    │   ├── MethodNotAllowedError      405  method_not_allowed
    │   ├── BodyTimeoutError           408  body_timeout
    │   ├── ConflictError              409  conflict
    │   │   ├── LabelSetChangedError   409  label_set_changed
    │   │   ├── GalleryDiffersError    409  gallery_differs
    │   │   ├── GalleryStaleError      409  gallery_stale
    │   │   └── JobCancelledError      409  job_cancelled
    │   │       └── JobSupersededError 409  job_superseded
    │   ├── PayloadTooLargeError       413  payload_too_large
    │   │   └── ImageTooLargeError     413  image_too_large
    │   ├── UnsupportedMediaTypeError  415  unsupported_media_type
    │   └── TooManyRequestsError       429  overloaded            (+ Retry-After)
    │       ├── RateLimitedError       429  rate_limited          (+ Retry-After)
    │       └── TooManyJobsError       429  too_many_jobs         (+ Retry-After)
    ├── ServiceError                   the caller cannot mend it
    │   ├── InternalError              500  internal_error
    │   │   └── GalleryFailedError     500  gallery_failed
    │   ├── BackboneFailedError        502  backbone_failed       (+ Retry-After)
    │   ├── UnavailableError           503  unavailable           (+ Retry-After)
    │   │   ├── GalleryLoadingError    503  gallery_loading
    │   │   ├── JobInterruptedError    503  job_interrupted
    │   │   └── OutcomeUnknownError    504  outcome_unknown
    │   └── DeadlineExceededError      504  deadline_exceeded
    │       └── JobTimeoutError        504  job_timeout
    └── StartupError                   the process cannot start; never reaches a caller
        ├── RepositoryError            the model repository is broken
        └── ConfigurationError         a setting is wrong

Messages are written for the caller: they name the fix, and never carry a foreign exception's text.
"""

from __future__ import annotations

from typing import ClassVar


class QuorumError(Exception):
    """The root. `param` names the field of the request that is to blame, in the request's own words."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def with_param(self, param: str) -> QuorumError:
        """The same error, blamed on another field (an image does not know its place in the batch)."""
        return self.__class__(self.message, param=param, retry_after_s=self.retry_after_s)


class RequestError(QuorumError):
    status = 400
    code = "bad_request"
    type = "invalid_request_error"


class InvalidRequestError(RequestError):
    status = 422
    code = "invalid_request"


class InvalidLabelsError(InvalidRequestError):
    code = "invalid_labels"


class InvalidExamplesError(InvalidRequestError):
    """Labelled examples that no controller can be fitted on."""

    code = "invalid_examples"


class InvalidFilterError(InvalidRequestError):
    """A filter that names no field of the gallery, or compares it with something of another type."""

    code = "invalid_filter"


class InvalidItemError(InvalidRequestError):
    """An item, or a part of a query, that a gallery cannot take: unknown field, wrong type, wrong width."""

    code = "invalid_item"


class UnknownBackboneError(InvalidRequestError):
    code = "unknown_backbone"


class MalformedBodyError(RequestError):
    code = "malformed_body"


class InvalidImageError(RequestError):
    code = "invalid_image"


class InvalidTextError(RequestError):
    code = "invalid_text"


class UnauthorizedError(RequestError):
    status = 401
    code = "unauthorized"
    type = "authentication_error"


class InsufficientScopeError(RequestError):
    """A key that does not allow this call. `scope` is what it would take."""

    status = 403
    code = "insufficient_scope"
    type = "permission_error"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, scope: str = ""
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.scope = scope

    def with_param(self, param: str) -> QuorumError:
        return self.__class__(self.message, param=param, retry_after_s=self.retry_after_s, scope=self.scope)


class NotFoundError(RequestError):
    status = 404
    code = "not_found"


class MethodNotAllowedError(RequestError):
    status = 405
    code = "method_not_allowed"


class BodyTimeoutError(RequestError):
    status = 408
    code = "body_timeout"


class ConflictError(RequestError):
    status = 409
    code = "conflict"


class LabelSetChangedError(ConflictError):
    """What was made, or was about to be, belongs to contents that the label set no longer has."""

    code = "label_set_changed"


class GalleryDiffersError(ConflictError):
    """A gallery of this name exists and is something else."""

    code = "gallery_differs"


class GalleryStaleError(ConflictError):
    """A gallery was made with other towers than are served: their embeddings cannot be compared."""

    code = "gallery_stale"


class JobCancelledError(ConflictError):
    code = "job_cancelled"


class JobSupersededError(JobCancelledError):
    code = "job_superseded"


class PayloadTooLargeError(RequestError):
    status = 413
    code = "payload_too_large"


class ImageTooLargeError(PayloadTooLargeError):
    code = "image_too_large"


class UnsupportedMediaTypeError(RequestError):
    status = 415
    code = "unsupported_media_type"


class TooManyRequestsError(RequestError):
    status = 429
    code = "overloaded"
    type = "rate_limit_error"


class RateLimitedError(TooManyRequestsError):
    """More than a key may ask for in a minute."""

    code = "rate_limited"


class TooManyJobsError(TooManyRequestsError):
    code = "too_many_jobs"


class ServiceError(QuorumError):
    """Something on our side of the API."""


class InternalError(ServiceError):
    """A bug. The log holds the traceback under the request id; the caller gets the id alone."""


class GalleryFailedError(InternalError):
    """The store of galleries refused a call that it should not have, or failed while it answered."""

    code = "gallery_failed"


class BackboneFailedError(ServiceError):
    status = 502
    code = "backbone_failed"


class UnavailableError(ServiceError):
    status = 503
    code = "unavailable"


class GalleryLoadingError(UnavailableError):
    """A gallery that must be loaded (again) before it can be searched."""

    code = "gallery_loading"


class JobInterruptedError(UnavailableError):
    """The process that ran a job is gone, and its images with it: they are never stored."""

    code = "job_interrupted"


class OutcomeUnknownError(UnavailableError):
    """A write that was sent and not answered. Not a 503: clients send those again, since nothing was done."""

    status = 504
    code = "outcome_unknown"


class DeadlineExceededError(ServiceError):
    status = 504
    code = "deadline_exceeded"
    type = "timeout_error"


class JobTimeoutError(DeadlineExceededError):
    code = "job_timeout"


class StartupError(QuorumError):
    code = "startup_error"


class RepositoryError(StartupError):
    """A model repository that must not be served; the message names the file and the key."""

    code = "invalid_repository"


class ConfigurationError(StartupError):
    code = "invalid_configuration"
