//! Errors of the HTTP API: a type that clients may act on, a text, and the status that belongs to the type.

use crate::json::Json;
use crate::wrap::{Encoding, body_of};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use storage::StorageError;

/// The `errorType` of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    Timeout,
    Canceled,
    Execution,
    BadData,
    Internal,
    /// Switched off.
    Unavailable,
    /// The store cannot answer yet or any more; another try may.
    NotReady,
    NotFound,
    /// The endpoint belongs to a part that this version does not have.
    NotImplemented,
}

impl ErrorKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Timeout => "timeout",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Execution => "execution",
            ErrorKind::BadData => "bad_data",
            ErrorKind::Internal => "internal",
            ErrorKind::Unavailable | ErrorKind::NotReady => "unavailable",
            ErrorKind::NotFound => "not_found",
            ErrorKind::NotImplemented => "not_implemented",
        }
    }

    /// As upstream, where what is switched off is 500.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorKind::BadData => StatusCode::BAD_REQUEST,
            ErrorKind::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // nginx' "client closed request", which upstream uses as well.
            ErrorKind::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            ErrorKind::Timeout | ErrorKind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Internal | ErrorKind::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

/// A refusal of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", kind.as_str())]
pub struct ApiError {
    pub kind: ErrorKind,
    pub text: String,
}

impl ApiError {
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        ApiError { kind, text: text.into() }
    }

    pub fn bad_data(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, text)
    }

    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }

    /// `invalid parameter "start": …`
    pub fn parameter(name: &str, text: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {}: {text}", model::labels::quote(name)))
    }

    pub fn not_built(what: &str) -> Self {
        Self::new(ErrorKind::NotImplemented, format!("{what} is not built into this version"))
    }

    pub fn into_response(self, encoding: Encoding) -> Response<Body> {
        let mut json = Json::with_capacity(self.text.len() + 64);
        json.raw("{\"status\":\"error\",\"errorType\":").text(self.kind.as_str());
        if !self.text.is_empty() {
            json.raw(",\"error\":").text(&self.text);
        }
        json.raw("}");
        let mut response = Response::new(body_of(encoding.encode(json.into_pieces())));
        *response.status_mut() = self.kind.status();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl From<StorageError> for ApiError {
    fn from(e: StorageError) -> Self {
        let kind = match e {
            StorageError::Unavailable(_) => ErrorKind::NotReady,
            StorageError::Cancelled => ErrorKind::Canceled,
            StorageError::Corrupt(_) | StorageError::Other(_) => ErrorKind::Execution,
        };
        ApiError::new(kind, e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_ready_is_worth_another_try() {
        let error = ApiError::from(StorageError::Unavailable("TSDB not ready".into()));
        assert_eq!((error.kind.as_str(), error.kind.status().as_u16()), ("unavailable", 503));
        assert_eq!(ErrorKind::Unavailable.status().as_u16(), 500);
    }
}
