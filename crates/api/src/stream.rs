//! Replies that are written while they are sent: one piece ahead of the client, and no further.
//!
//! Room: `api`. A piece is made on a thread for blocking work, which is given back between pieces: a client that
//! reads slowly keeps what is still to be written, and no thread. One that goes ends the writing.

use crate::wrap::{Encoding, Squeezer};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Compressed pieces below this wait for more.
const LEAST_BYTES: usize = 16 << 10;

/// A text that is made piece by piece.
pub(crate) trait Source: Send + 'static {
    /// The next piece, within some milliseconds.
    fn piece(&mut self) -> Bytes;

    /// Whether the last piece was the last one.
    fn is_done(&self) -> bool;
}

/// A source behind its compression.
struct Packed<S> {
    source: S,
    squeezer: Squeezer,
}

impl<S: Source> Packed<S> {
    /// The next piece; empty only behind the end.
    fn piece(&mut self) -> Bytes {
        loop {
            let piece = self.source.piece();
            let done = self.source.is_done();
            let packed = self.squeezer.add(piece, if done { 0 } else { LEAST_BYTES }, done);
            if done || !packed.is_empty() {
                return packed;
            }
        }
    }
}

/// A JSON reply. Its first piece is made here and now: a short reply has a known length.
pub(crate) fn response<S: Source>(source: S, encoding: Encoding) -> Response<Body> {
    let mut packed = Packed { source, squeezer: Squeezer::new(encoding) };
    let first = packed.piece();
    let body = match packed.source.is_done() {
        true => Body::from(first),
        false => Body::new(Flow { ready: Some(first), next: Next::Idle(Box::new(packed)) }),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

struct Flow<S> {
    /// The piece that is handed out next.
    ready: Option<Bytes>,
    next: Next<S>,
}

enum Next<S> {
    Idle(Box<Packed<S>>),
    Making(JoinHandle<(Box<Packed<S>>, Bytes)>),
    Done,
}

impl<S: Source> Flow<S> {
    /// Begins the next piece, unless that is being done or there is none.
    fn go_on(&mut self) {
        self.next = match std::mem::replace(&mut self.next, Next::Done) {
            Next::Idle(packed) if packed.source.is_done() => Next::Done,
            Next::Idle(mut packed) => Next::Making(tokio::task::spawn_blocking(move || {
                let piece = packed.piece();
                (packed, piece)
            })),
            next => next,
        };
    }
}

impl<S: Source> http_body::Body for Flow<S> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = match self.ready.take() {
            Some(piece) => piece,
            None => {
                let Next::Making(making) = &mut self.next else { return Poll::Ready(None) };
                let made = ready!(Pin::new(making).poll(context));
                self.next = Next::Done;
                match made {
                    Ok((packed, piece)) => {
                        self.next = Next::Idle(packed);
                        piece
                    }
                    Err(e) => return Poll::Ready(Some(Err(std::io::Error::other(e)))),
                }
            }
        };
        self.go_on();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

// Nothing of it is pinned in its place.
impl<S> Unpin for Flow<S> {}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the pieces that have been made.
    struct Counting {
        made: Arc<AtomicUsize>,
        of: usize,
    }

    impl Source for Counting {
        fn piece(&mut self) -> Bytes {
            self.made.fetch_add(1, Ordering::SeqCst);
            Bytes::from_static(b"x")
        }

        fn is_done(&self) -> bool {
            self.made.load(Ordering::SeqCst) >= self.of
        }
    }

    #[tokio::test]
    async fn one_piece_ahead_and_no_further() {
        let made = Arc::new(AtomicUsize::new(0));
        let source = Counting { made: made.clone(), of: 50 };
        let mut body = response(source, Encoding::Identity).into_body();
        assert_eq!(made.load(Ordering::SeqCst), 1);
        let mut taken = 0;
        while let Some(frame) = body.frame().await {
            assert!(frame.is_ok());
            taken += 1;
            assert!((taken..=taken + 1).contains(&made.load(Ordering::SeqCst)));
        }
        assert_eq!((taken, made.load(Ordering::SeqCst)), (50, 50));
    }

    #[tokio::test]
    async fn nobody_writes_for_a_client_that_has_gone() {
        let made = Arc::new(AtomicUsize::new(0));
        let source = Counting { made: made.clone(), of: usize::MAX };
        let mut body = response(source, Encoding::Identity).into_body();
        let _ = body.frame().await;
        drop(body);
        // At most the piece that was begun.
        tokio::task::spawn_blocking(|| ()).await.expect("runs");
        assert!(made.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn short_replies_have_a_length() {
        use http_body::Body as _;
        let source = Counting { made: Arc::default(), of: 1 };
        assert_eq!(response(source, Encoding::Identity).body().size_hint().exact(), Some(1));
        let source = Counting { made: Arc::default(), of: 1 };
        assert!(response(source, Encoding::Gzip).body().size_hint().exact() > Some(1));
    }
}
