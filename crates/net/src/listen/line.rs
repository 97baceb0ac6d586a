//! The first line of a connection, made readable: quotes and angle brackets in it are escaped.

use super::HEAD_BYTES;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose first request line may hold `"`, `<` and `>`. Our HTTP library refuses them in a query
/// string, Go takes them, and people type `curl -g 'http://host/api/v1/query?query=up{job="x"}'`.
///
/// Only the first line of a connection is known to be a request line without reading bodies as well; that
/// is where a terminal sends its one request.
pub(super) struct FirstLine<I> {
    inner: I,
    state: State,
}

enum State {
    /// What came before the line feed.
    Reading(Vec<u8>),
    /// Escaped bytes, and how many of them were given out.
    Giving(Vec<u8>, usize),
    Through,
}

impl<I> FirstLine<I> {
    pub(super) fn new(inner: I) -> Self {
        FirstLine { inner, state: State::Reading(Vec::new()) }
    }
}

/// Escapes what stands between the method and the end of the first line.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let start = bytes[..end].iter().position(|b| *b == b' ').unwrap_or(end);
    let mut out = Vec::with_capacity(bytes.len() + 32);
    out.extend_from_slice(&bytes[..start]);
    for b in &bytes[start..end] {
        match b {
            b'"' => out.extend_from_slice(b"%22"),
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            _ => out.push(*b),
        }
    }
    out.extend_from_slice(&bytes[end..]);
    out
}

impl<I: AsyncRead + Unpin> AsyncRead for FirstLine<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Through => return Pin::new(&mut this.inner).poll_read(cx, buf),
                State::Giving(bytes, given) => {
                    let n = buf.remaining().min(bytes.len() - *given);
                    buf.put_slice(&bytes[*given..*given + n]);
                    *given += n;
                    if *given == bytes.len() {
                        this.state = State::Through;
                    }
                    return Poll::Ready(Ok(()));
                }
                State::Reading(held) => {
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                    let new = &buf.filled()[before..];
                    let ended = new.is_empty() || new.contains(&b'\n');
                    let line = new.split(|b| *b == b'\n').next().unwrap_or(&[]);
                    if held.is_empty() && ended && !line.iter().any(|b| matches!(b, b'"' | b'<' | b'>')) {
                        // The usual case: nothing was copied.
                        this.state = State::Through;
                        return Poll::Ready(Ok(()));
                    }
                    held.extend_from_slice(new);
                    buf.set_filled(before);
                    if ended || held.len() > HEAD_BYTES {
                        this.state = State::Giving(escape(held), 0);
                    }
                }
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FirstLine<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// What comes out of a stream that arrives in these pieces.
    async fn read(pieces: &[&[u8]]) -> String {
        let mut mock = tokio_util::io::StreamReader::new(futures_util::stream::iter(
            pieces
                .iter()
                .map(|p| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(p)))
                .collect::<Vec<_>>(),
        ));
        let mut out = Vec::new();
        FirstLine::new(&mut mock).read_to_end(&mut out).await.expect("reads");
        String::from_utf8(out).expect("text")
    }

    #[tokio::test]
    async fn only_the_first_line_changes() {
        for (pieces, want) in [
            (
                &[&b"GET /q=a{b=\"c\"}<1 HTTP/1.1\r\nX: \"y\"\r\n"[..]][..],
                "GET /q=a{b=%22c%22}%3C1 HTTP/1.1\r\nX: \"y\"\r\n",
            ),
            (&[b"GET /?\"", b"\" HTTP/1.1\r\n", b"A: \"b\"\n"], "GET /?%22%22 HTTP/1.1\r\nA: \"b\"\n"),
            (&[b"GET / HTTP/1.1\n", b"\"body\""], "GET / HTTP/1.1\n\"body\""),
            (&[b"GET / HTT", b"P/1.1\n\"x\""], "GET / HTTP/1.1\n\"x\""),
            (&[b"GET \""], "GET %22"),
            (&[], ""),
        ] {
            assert_eq!(read(pieces).await, want);
        }
    }

    #[tokio::test]
    async fn endless_lines_pass_in_bounded_memory() {
        let long = vec![b'x'; HEAD_BYTES];
        assert_eq!(read(&[&long, b"yz", b"\"\n"]).await.len(), HEAD_BYTES + 4);
    }
}
