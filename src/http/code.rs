//! The catalogue of problem codes: each with its status, whether trying the same again may help, and what it means.
//!
//! To add one: a line here. A code that was released keeps its name and its status.

use axum::http::StatusCode;

/// Declares the catalogue: `Variant = "code", status, again|final, "title", "meaning";`.
macro_rules! problem_codes {
    ($($name:ident = $code:literal, $status:ident, $retry:ident, $title:literal, $meaning:literal;)*) => {
        /// Why a request was not answered as it wished.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Stable, for programs: `idempotency-key-missing`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// Whether the same request may succeed later, unchanged.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => problem_codes!(@ $retry),)* }
            }

            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and what to do, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
    (@ again) => { true };
    (@ final) => { false };
}

#[rustfmt::skip] // a table
problem_codes! {
    // 400: the request cannot be understood
    Malformed = "malformed", BAD_REQUEST, final, "The request is malformed", "The body is not the JSON that the endpoint takes; `pointer` names the field.";
    Invalid = "invalid", BAD_REQUEST, final, "Some values are not acceptable", "The request was understood, but values are out of bounds; `errors` lists every one.";
    MalformedPath = "malformed-path", BAD_REQUEST, final, "The path is malformed", "An id in the path does not have the form of such an id.";
    MalformedQuery = "malformed-query", BAD_REQUEST, final, "The query is malformed", "A parameter of the query is unknown or does not have its form; `pointer` names it.";
    MalformedHeader = "malformed-header", BAD_REQUEST, final, "A header is malformed", "A header that the endpoint reads does not have its form.";
    InvalidCursor = "invalid-cursor", BAD_REQUEST, final, "The cursor is not ours", "A cursor is only good for the list that issued it, with the same parameters: start again without one.";
    IdempotencyKeyMissing = "idempotency-key-missing", BAD_REQUEST, final, "Idempotency-Key is missing", "Send Idempotency-Key with 1 to 255 visible ASCII characters, the same for every repetition of this request.";
    // 401 and 403
    SignatureInvalid = "signature-invalid", UNAUTHORIZED, final, "The signature does not fit", "The webhook was not signed with the secret that both sides share.";
    Forbidden = "forbidden", FORBIDDEN, final, "Not allowed", "The actor's role may not do this.";
    // 404 and 405
    NotFound = "not-found", NOT_FOUND, final, "Not found", "There is no such thing, or not yet: with Waybill-Min-Position the answer waits for what you have just written.";
    NoSuchEndpoint = "no-such-endpoint", NOT_FOUND, final, "No such endpoint", "Nothing answers at this path; /docs lists what does.";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, final, "Method not allowed", "The path exists, but not with this method; Allow lists those it has.";
    // 409: somebody else was there
    Conflict = "conflict", CONFLICT, again, "Somebody else was faster", "The thing changed while the command was decided, again and again: try once more.";
    AlreadyExists = "already-exists", CONFLICT, final, "It exists already", "Something with this name was created by another request.";
    // 412, 413, 414, 415, 428
    Stale = "stale", PRECONDITION_FAILED, final, "The version is not the current one", "It changed since you read it: read it again, and decide again. `etag` is the current one.";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, final, "The body is too large", "Split the request.";
    UriTooLong = "uri-too-long", URI_TOO_LONG, final, "The URL is too long", "Shorten the query.";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, final, "Not JSON", "Send Content-Type: application/json.";
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, final, "If-Match is missing", "Send If-Match with the ETag that you read, so that nobody's change is overwritten.";
    // 422: understood, and refused by a rule
    RuleViolated = "rule-violated", UNPROCESSABLE_ENTITY, final, "A rule says no", "The request was understood and is refused; `detail` says by which rule.";
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, final, "The Idempotency-Key was used for something else", "This key came before with another body: take a new key for a new request.";
    OrderNotOpen = "order-not-open", UNPROCESSABLE_ENTITY, final, "The order is not open", "The order is confirmed, shipped, completed or cancelled, and can no longer do this.";
    UnknownProduct = "unknown-product", UNPROCESSABLE_ENTITY, final, "No such product", "A line names a product that is not listed.";
    PriceNotAccepted = "price-not-accepted", UNPROCESSABLE_ENTITY, final, "Prices come from the catalogue", "Only an importing service may state agreed prices.";
    CurrencyMismatch = "currency-mismatch", UNPROCESSABLE_ENTITY, final, "The currencies differ", "All lines of an order, and all prices of a product, are in one currency.";
    InsufficientStock = "insufficient-stock", UNPROCESSABLE_ENTITY, final, "Not enough stock", "More would be taken away than is available.";
    // 500 and up: ours
    Internal = "internal", INTERNAL_SERVER_ERROR, again, "Something went wrong on our side", "The log has the cause under the X-Request-Id of this answer.";
    OutcomeUnknown = "outcome-unknown", SERVICE_UNAVAILABLE, again, "It may or may not have happened", "No answer came in time, or the connection was lost while committing: repeat the request with the same Idempotency-Key (a webhook: as it was) to learn the outcome.";
    NotKnownYet = "not-known-yet", SERVICE_UNAVAILABLE, again, "Not known yet", "The webhook tells of something that is not recorded here yet: send it again later.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, again, "Too busy", "More is asked than can be done now: try again after Retry-After.";
    TimedOut = "timed-out", SERVICE_UNAVAILABLE, again, "It took too long", "The time for a request is bounded: ask again.";
    LogUnavailable = "log-unavailable", SERVICE_UNAVAILABLE, again, "The log cannot be reached", "Postgres does not answer; commands wait until it does.";
    ViewUnavailable = "view-unavailable", SERVICE_UNAVAILABLE, again, "The read model cannot be reached", "Its store does not answer, or it is being built for the first time.";
    SearchUnavailable = "search-unavailable", SERVICE_UNAVAILABLE, again, "Search is not available", "The search index cannot be read or is being built; pages by id work.";
    NotServed = "not-served", SERVICE_UNAVAILABLE, again, "Not served here", "This process does not run the role that answers this.";
    PositionNotReached = "position-not-reached", GATEWAY_TIMEOUT, again, "The read model has not got there yet", "Waybill-Min-Position was not reached within the wait budget; `position` says how far it is.";
}

impl Code {
    /// The code that a client reads, back in the type; `None` for one that does not exist.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}
