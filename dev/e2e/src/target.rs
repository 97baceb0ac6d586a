//! A scrape target that knows the truth: each scrape gets the next number, and what was served is kept.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Serves `e2e_scrapes_total <n>` with n growing by one for each scrape.
pub struct CountingTarget {
    pub address: String,
    served: Arc<AtomicU64>,
}

impl CountingTarget {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("bound address").to_string();
        let served = Arc::new(AtomicU64::new(0));
        let count = served.clone();
        // Ends with the test process: the listener belongs to the thread.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || serve(stream, &count));
            }
        });
        CountingTarget { address, served }
    }

    /// The last number that was served completely.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, count: &AtomicU64) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
    let n = count.fetch_add(1, Ordering::SeqCst) + 1;
    let body = format!(
        "# HELP e2e_scrapes_total Scrapes served.\n# TYPE e2e_scrapes_total counter\ne2e_scrapes_total {n}\n\
         # TYPE e2e_gauge gauge\ne2e_gauge{{path=\"/a b\\\"c\"}} {}\n",
        n % 7
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}
