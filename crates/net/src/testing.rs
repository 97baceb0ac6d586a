//! Servers for the tests of this room: our own listener with a closure behind it.

use crate::listen::{ListenOptions, Listener, RequestBody};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) type Answer = Response<Full<Bytes>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

#[derive(Clone)]
struct Handler(Arc<dyn Fn(Request<Bytes>) -> Answering + Send + Sync>);

impl tower_service::Service<Request<RequestBody>> for Handler {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let handler = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = match body.collect().await {
                Ok(body) => handler(Request::from_parts(parts, body.to_bytes())).await,
                Err(error) => text(408, &error.to_string()),
            };
            Ok(answer)
        })
    }
}

pub(crate) fn text(status: u16, body: &str) -> Answer {
    let answer = Response::builder().status(status).body(Full::from(body.to_owned()));
    answer.expect("a legal answer")
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Answers at once.
pub(crate) async fn serve(handler: impl Fn(Request<Bytes>) -> Answer + Send + Sync + 'static) -> Server {
    serve_with(ListenOptions::default(), move |request| {
        let answer = handler(request);
        Box::pin(async move { answer })
    })
    .await
}

pub(crate) async fn serve_with(
    options: ListenOptions,
    handler: impl Fn(Request<Bytes>) -> Answering + Send + Sync + 'static,
) -> Server {
    let listener = Listener::bind("127.0.0.1:0", options).await.expect("binds");
    let address = listener.local_addr().expect("address");
    let stop = CancellationToken::new();
    let handler = Handler(Arc::new(handler));
    let task = tokio::spawn(listener.serve(handler, stop.clone(), Duration::from_secs(5)));
    Server { address, stop, task }
}

/// A server with a web configuration file.
pub(crate) async fn serve_web(
    file: &Path,
    handler: impl Fn(Request<Bytes>) -> Answer + Send + Sync + 'static,
) -> Server {
    let options = ListenOptions { web_config: Some(file.to_owned()), ..ListenOptions::default() };
    serve_with(options, move |request| {
        let answer = handler(request);
        Box::pin(async move { answer })
    })
    .await
}

pub(crate) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

pub(crate) fn read(name: &str) -> String {
    disk::small::read_text(&disk::OsDisk, &testdata(name), 1 << 20).expect("reads")
}

pub(crate) fn write(path: &Path, text: &str) {
    disk::atomic::write(&disk::OsDisk, path, text.as_bytes()).expect("writes");
}

pub(crate) fn header<B>(request: &Request<B>, name: &str) -> String {
    let values = request.headers().get_all(name).iter();
    values.map(|v| v.to_str().expect("text")).collect::<Vec<_>>().join(",")
}
