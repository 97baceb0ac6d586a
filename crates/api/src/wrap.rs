//! What stands around every reply of the API: CORS headers and compression.

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use model::regexp::Regexp;

use std::collections::VecDeque;
use std::io::Write;

/// The `--web.cors.origin` expression, anchored at both ends.
#[derive(Clone, Debug)]
pub struct Cors {
    origin: std::sync::Arc<Regexp>,
}

impl Cors {
    /// The error has Go's text.
    pub fn new(expression: &str) -> Result<Self, String> {
        let origin = Regexp::wrapped(expression).map_err(|e| e.to_string())?;
        Ok(Cors { origin: std::sync::Arc::new(origin) })
    }

    /// Adds `Vary: Origin` and, for a request with an allowed `Origin`, the permission headers.
    pub fn apply(&self, request: &HeaderMap, reply: &mut HeaderMap) {
        reply.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(header::ORIGIN).filter(|o| !o.is_empty()) else { return };
        let fixed = [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ];
        for (name, value) in fixed {
            reply.insert(name, HeaderValue::from_static(value));
        }
        // Upstream echoes the origin for `.*` too.
        if origin.to_str().is_ok_and(|o| self.origin.is_match(o)) {
            reply.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
}

/// The encoding that a client asked for first among those that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    pub fn negotiate(request: &HeaderMap) -> Encoding {
        let Some(accept) = request.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()) else {
            return Encoding::Identity;
        };
        for name in accept.split(',') {
            match name.trim() {
                "gzip" => return Encoding::Gzip,
                "deflate" => return Encoding::Deflate,
                _ => {}
            }
        }
        Encoding::Identity
    }

    fn header(self) -> Option<HeaderValue> {
        match self {
            Encoding::Identity => None,
            Encoding::Gzip => Some(HeaderValue::from_static("gzip")),
            Encoding::Deflate => Some(HeaderValue::from_static("deflate")),
        }
    }

    /// Marks a reply as encoded this way.
    pub fn mark(self, reply: &mut HeaderMap) {
        reply.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(value) = self.header() {
            reply.insert(header::CONTENT_ENCODING, value);
        }
    }

    /// Encodes a body. CPU work: not for large bodies on a runtime thread.
    pub fn encode(self, pieces: Vec<Bytes>) -> Vec<Bytes> {
        if self == Encoding::Identity {
            return pieces;
        }
        let mut squeezer = Squeezer::new(self);
        let packed = pieces.into_iter().map(|piece| squeezer.add(piece, usize::MAX, false));
        let mut packed: Vec<Bytes> = packed.filter(|piece| !piece.is_empty()).collect();
        packed.push(squeezer.add(Bytes::new(), 0, true));
        packed
    }
}

/// A running compression.
pub(crate) enum Squeezer {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Squeezer {
    pub(crate) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Identity => Squeezer::Identity,
            Encoding::Gzip => Squeezer::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Encoding::Deflate => Squeezer::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// Takes a piece, the last one or not; gives what is ready, if it is at least so many bytes.
    pub(crate) fn add(&mut self, piece: Bytes, least: usize, last: bool) -> Bytes {
        // Writing into a `Vec` does not fail; should it ever, the client sees a broken stream.
        let ready = match self {
            Squeezer::Identity => return piece,
            Squeezer::Gzip(encoder) => {
                let _ = encoder.write_all(&piece);
                if last {
                    let _ = encoder.try_finish();
                }
                encoder.get_mut()
            }
            Squeezer::Deflate(encoder) => {
                let _ = encoder.write_all(&piece);
                if last {
                    let _ = encoder.try_finish();
                }
                encoder.get_mut()
            }
        };
        if ready.len() >= least { Bytes::from(std::mem::take(ready)) } else { Bytes::new() }
    }
}

/// A body of known length.
pub fn body_of(mut pieces: Vec<Bytes>) -> Body {
    match pieces.len() {
        0 => Body::empty(),
        1 => Body::from(pieces.remove(0)),
        _ => {
            let left = pieces.iter().map(|p| p.len() as u64).sum();
            Body::new(Pieces { left, queue: pieces.into() })
        }
    }
}

struct Pieces {
    queue: VecDeque<Bytes>,
    left: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.queue.pop_front().map(|piece| {
            self.left -= piece.len() as u64;
            Ok(http_body::Frame::data(piece))
        }))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

/// A plain text reply.
pub fn text(status: http::StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What Go's `http.Error` writes: the text with a line feed, and `nosniff`.
pub fn go_error(status: http::StatusCode, body: &str) -> Response<Body> {
    let mut response = text(status, format!("{body}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: &str, origin: &str) -> Option<String> {
        let mut request = HeaderMap::new();
        request.insert(header::ORIGIN, HeaderValue::from_str(origin).expect("header text"));
        let mut reply = HeaderMap::new();
        Cors::new(expression).expect("regex").apply(&request, &mut reply);
        reply.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|v| v.to_str().unwrap_or("").to_owned())
    }

    #[test]
    fn origins() {
        assert_eq!(allowed(".*", "http://a"), Some("http://a".into()));
        assert_eq!(allowed("https?://(a|b)", "http://b"), Some("http://b".into()));
        assert_eq!(allowed("https?://(a|b)", "http://bc"), None);
        assert_eq!(allowed(".*", ""), None);
    }

    #[test]
    fn encodings() {
        let ask = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            Encoding::negotiate(&headers)
        };
        assert_eq!(ask("br, gzip"), Encoding::Gzip);
        assert_eq!(ask("deflate,gzip"), Encoding::Deflate);
        assert_eq!(ask("gzip;q=0"), Encoding::Identity);
        assert_eq!(Encoding::Gzip.encode(vec![Bytes::from_static(b"x")])[0][..2], [0x1f, 0x8b]);
    }
}
