//! The other ends of a scraping program: targets with rendered pages, and a sink for remote write.

use crate::workload::Page;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has passed so far.
#[derive(Default)]
pub struct Counts {
    /// Pages that were served, or requests that were taken.
    pub requests: AtomicU64,
    /// Bytes of bodies.
    pub bytes: AtomicU64,
    /// Requests that were not understood.
    pub strange: AtomicU64,
}

impl Counts {
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn strange(&self) -> u64 {
        self.strange.load(Ordering::Relaxed)
    }

    fn note(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A request line and the length of the body.
struct Head {
    path: String,
    length: usize,
    encoding: String,
}

fn head(stream: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut encoding) = (0, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let text = line.trim_end().to_ascii_lowercase();
        if text.is_empty() {
            return Some(Head { path, length, encoding });
        }
        if let Some(n) = text.strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
        if let Some(name) = text.strip_prefix("content-encoding:") {
            name.trim().clone_into(&mut encoding);
        }
    }
}

/// Answers every connection with `answer` in a thread of its own, for as long as this process runs.
fn listen(answer: impl Fn(&mut BufReader<TcpStream>) -> Option<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("bound address").to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            let _ = stream.set_nodelay(true);
            std::thread::spawn(move || {
                let mut stream = BufReader::with_capacity(64 << 10, stream);
                while answer(&mut stream).is_some() {}
            });
        }
    });
    address
}

/// Serves `/t/<n>`: the pages of target n, one after the other. Gives the address.
pub fn targets(pages: Vec<Vec<Page>>, counts: Arc<Counts>) -> String {
    let next: Vec<AtomicU64> = pages.iter().map(|_| AtomicU64::new(0)).collect();
    listen(move |stream| {
        let path = head(stream)?.path;
        let target: usize = path.strip_prefix("/t/")?.split('?').next()?.parse().ok()?;
        let round = next.get(target)?.fetch_add(1, Ordering::Relaxed) as usize;
        let page = &pages[target][round % pages[target].len()];
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            page.len()
        );
        let out = stream.get_mut();
        out.write_all(head.as_bytes()).and_then(|()| out.write_all(page.as_bytes())).ok()?;
        counts.note(page.len());
        Some(())
    })
}

/// Takes remote-write requests and forgets them: looks only at the length that the snappy header states.
pub fn sink(counts: Arc<Counts>) -> String {
    listen(move |stream| {
        let head = head(stream)?;
        let mut body = vec![0; head.length];
        stream.read_exact(&mut body).ok()?;
        if head.encoding == "snappy" && snap::raw::decompress_len(&body).is_ok_and(|n| n > 0) {
            counts.note(body.len());
        } else {
            counts.strange.fetch_add(1, Ordering::Relaxed);
        }
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()
    })
}
