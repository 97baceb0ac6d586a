//! What can go wrong with a request, in words close to Go's.

use http::Method;
use std::error::Error;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The client cannot be built as configured.
    #[error("{0}")]
    Config(String),
    /// A credential could not be read or got.
    #[error("{0}")]
    Credentials(String),
    /// No connection: name not found, refused, TLS handshake failed, proxy said no.
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Redirect(String),
    /// The time for the request is over.
    #[error("context deadline exceeded")]
    Timeout,
    /// The connection broke or the peer does not speak HTTP.
    #[error("{0}")]
    Exchange(String),
    /// The body broke off.
    #[error("{0}")]
    Body(String),
    #[error("body size limit exceeded: more than {limit_bytes} bytes")]
    TooLong { limit_bytes: u64 },
    /// One of the others, with method and URL before it: `Get "http://…": …`.
    #[error("{what}: {cause}")]
    Request { what: String, cause: Box<ClientError> },
}

impl ClientError {
    /// The error without method and URL.
    pub fn cause(&self) -> &ClientError {
        match self {
            ClientError::Request { cause, .. } => cause,
            other => other,
        }
    }

    pub fn is_timeout(&self) -> bool {
        *self.cause() == ClientError::Timeout
    }

    pub(super) fn of(self, method: &Method, url: &str) -> ClientError {
        let mut verb = method.as_str().to_ascii_lowercase();
        if let Some(first) = verb.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let shown = crate::config::ConfigUrl::parse(url).map_or_else(
            |_| url.to_owned(),
            |u| {
                if u.0.password().is_some() { u.redacted() } else { url.to_owned() }
            },
        );
        let what = format!("{verb} {}", model::labels::quote(&shown));
        ClientError::Request { what, cause: Box::new(self) }
    }

    pub(super) fn from_hyper(error: hyper_util::client::legacy::Error) -> ClientError {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(ours) = cause.downcast_ref::<ClientError>() {
                return ours.clone();
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                if hyper.is_incomplete_message() {
                    return ClientError::Exchange("EOF".into());
                }
                return ClientError::Exchange(chain(hyper));
            }
            source = cause.source();
        }
        ClientError::Exchange(chain(&error))
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
