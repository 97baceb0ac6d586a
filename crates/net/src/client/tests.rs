//! Tests of the client against tiny listeners.

use super::*;
use crate::testing::{header, read, serve, serve_web, serve_with, testdata, text, write};
use http::Response as HttpResponse;
use std::sync::atomic::{AtomicUsize, Ordering};

const SOON: Duration = Duration::from_secs(20);

fn client(config: &str) -> HttpClient {
    let config: HttpClientConfig = yaml::from_str(config).expect("reads");
    HttpClient::new(&config, ClientOptions::default()).expect("builds")
}

async fn body(response: Result<super::Response, ClientError>) -> String {
    let bytes = response.expect("answers").read_body(1 << 20).await.expect("body");
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test]
async fn bodies_are_capped_and_time_is_bounded() {
    let server = serve_with(crate::listen::ListenOptions::default(), |request| {
        Box::pin(async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            text(404, &format!("{} {}", header(&request, "user-agent"), "x".repeat(100_000)))
        })
    })
    .await;
    let client = client("");
    let url = format!("http://{}/", server.address);
    let answer = client.get(&url, SOON).await.expect("answers");
    assert_eq!(answer.status, 404);
    let all = answer.read_body(200_000).await.expect("fits");
    assert!(all.starts_with(b"Pyrrha/") && all.len() > 100_000);
    let long = client.get(&url, SOON).await.expect("answers").read_body(1000).await;
    assert_eq!(long.expect_err("too long"), ClientError::TooLong { limit_bytes: 1000 });
    let start = client.get(&url, SOON).await.expect("answers").read_start(6).await.expect("start");
    assert_eq!(&start[..], b"Pyrrha");
    let never = format!("{url}never");
    let error = client.get(&never, Duration::from_millis(50)).await.expect_err("times out");
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), format!("Get \"{never}\": context deadline exceeded"));
}

#[tokio::test]
async fn failures_read_as_in_go() {
    let gone =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("address");
    let error = client("").get(&format!("http://{gone}/m"), SOON).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!("Get \"http://{gone}/m\": dial tcp {gone}: connect: connection refused")
    );
    let error = client("").get("http://nowhere.invalid/", SOON).await.expect_err("unknown");
    assert!(error.to_string().contains("dial tcp: lookup nowhere.invalid: no such host"), "{error}");
    let server = serve(|_| text(200, "")).await;
    let error = client("").get(&format!("https://{}/", server.address), SOON).await.expect_err("no TLS");
    assert!(error.to_string().contains("tls: first record does not look like a TLS handshake"), "{error}");
}

#[tokio::test]
async fn credentials_are_sent_and_read_anew() {
    let server =
        serve(|r| text(200, &format!("{}|{}", header(&r, "authorization"), header(&r, "x-a")))).await;
    let url = format!("http://{}/", server.address);
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("secret");
    write(&file, "one\n");
    let at = file.display();
    let basic = client(&format!("basic_auth: {{username: u, password_file: {at}}}"));
    assert_eq!(body(basic.get(&url, SOON).await).await, "Basic dTpvbmU=|");
    write(&file, "two");
    assert_eq!(body(basic.get(&url, SOON).await).await, "Basic dTp0d28=|");
    let token = client(&format!(
        "bearer_token_file: {at}\nhttp_headers: {{x-a: {{values: [1], secrets: [2], files: [{at}]}}}}"
    ));
    assert_eq!(body(token.get(&url, SOON).await).await, "Bearer two|1,2,two");
    let typed = client("authorization: {type: Token, credentials: c}");
    assert_eq!(body(typed.get(&url, SOON).await).await, "Token c|");
    let in_url = format!("http://a%40b:c@{}/", server.address);
    assert_eq!(body(client("").get(&in_url, SOON).await).await, "Basic YUBiOmM=|");
    disk::Disk::remove_file(&disk::OsDisk, &file).expect("removes");
    let error = token.get(&url, SOON).await.expect_err("no file").to_string();
    assert!(error.contains("unable to read headers file") && error.contains("o such file"), "{error}");
}

fn to(location: &str, status: u16) -> crate::testing::Answer {
    HttpResponse::builder().status(status).header("location", location).body(Full::default()).expect("legal")
}

#[tokio::test]
async fn redirects_keep_credentials_at_home() {
    let server = serve(|r| match r.uri().path() {
        "/home" => to("/end?a=b", 302),
        "/keep" => to("/end", 307),
        "/loop" => to("/loop", 301),
        "/away" => {
            let port = header(&r, "host").rsplit_once(':').map(|(_, p)| p.to_owned()).unwrap_or_default();
            to(&format!("http://localhost:{port}/end"), 303)
        }
        _ => {
            let body = String::from_utf8_lossy(r.body()).into_owned();
            text(200, &format!("{} {} {} {body}", r.method(), r.uri(), header(&r, "authorization")))
        }
    })
    .await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let client = client("authorization: {credentials: c}");
    let post = |path: &str| Request::post(url(path)).body(Full::from("data")).expect("legal");
    assert_eq!(body(client.request(post("/home"), SOON).await).await, "GET /end?a=b Bearer c ");
    assert_eq!(body(client.request(post("/keep"), SOON).await).await, "POST /end Bearer c data");
    assert_eq!(body(client.get(&url("/away"), SOON).await).await, "GET /end  ");
    let error = client.get(&url("/loop"), SOON).await.expect_err("loops");
    assert!(error.to_string().ends_with(": stopped after 10 redirects"), "{error}");
    let stay =
        super::tests::client("follow_redirects: false").get(&url("/home"), SOON).await.expect("answers");
    assert_eq!(stay.status, 302);
}

#[test]
fn subdomains_are_at_home() {
    assert!(same_domain("a.example.org", "example.org") && same_domain("Example.org", "example.org"));
    assert!(!same_domain("aexample.org", "example.org") && !same_domain("example.org", "a.example.org"));
    assert!(!same_domain("x", ""));
}

#[tokio::test]
async fn client_credentials_are_fetched_once_and_again_when_they_end() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = serve(move |r| match r.uri().path() {
        "/token" | "/params" => {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let form = String::from_utf8_lossy(r.body()).into_owned();
            let header = header(&r, "authorization");
            if r.uri().path() == "/params" && !header.is_empty() {
                return text(401, "params please");
            }
            let token = if r.uri().path() == "/params" { form } else { format!("{header}-{form}-{n}") };
            let life = if n == 0 { 5 } else { 3600 };
            text(
                200,
                &serde_json::json!({"access_token": token, "token_type": "bearer", "expires_in": life})
                    .to_string(),
            )
        }
        _ => text(200, &header(&r, "authorization")),
    })
    .await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let config = |path: &str| {
        format!(
            "oauth2: {{client_id: 'a b', client_secret: s, scopes: [x, y], token_url: '{}', endpoint_params: {{aud: z}}}}",
            url(path)
        )
    };
    let by_header = client(&config("/token"));
    let grant = "grant_type=client_credentials&scope=x+y&aud=z";
    // The first token is too near its end to be kept, the second is used twice.
    assert_eq!(body(by_header.get(&url("/"), SOON).await).await, format!("Bearer Basic YStiOnM=-{grant}-0"));
    assert_eq!(body(by_header.get(&url("/"), SOON).await).await, format!("Bearer Basic YStiOnM=-{grant}-1"));
    assert_eq!(body(by_header.get(&url("/"), SOON).await).await, format!("Bearer Basic YStiOnM=-{grant}-1"));
    let by_params = client(&config("/params"));
    let want = format!("Bearer {grant}&client_id=a+b&client_secret=s");
    assert_eq!(body(by_params.get(&url("/"), SOON).await).await, want);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    let refused = client(&config("/nothing"));
    let error = refused.get(&url("/"), SOON).await.expect_err("no token").to_string();
    assert!(error.contains("oauth2: cannot parse json"), "{error}");
}

#[tokio::test]
async fn jwt_assertions_are_signed() {
    let server = serve(|r| {
        if r.uri().path() != "/token" {
            return text(200, &header(&r, "authorization"));
        }
        let form: Vec<(String, String)> = url::form_urlencoded::parse(r.body()).into_owned().collect();
        let field =
            |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
        assert_eq!(field("grant_type"), crate::config::GRANT_JWT_BEARER);
        text(200, &serde_json::json!({"access_token": field("assertion")}).to_string())
    })
    .await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let config = format!(
        "oauth2: {{grant_type: '{}', client_id: me, client_certificate_key_id: k1, client_certificate_key_file: {}, token_url: '{}', claims: {{n: 1}}, scopes: [s]}}",
        crate::config::GRANT_JWT_BEARER,
        testdata("rsa.key").display(),
        url("/token")
    );
    let token = body(client(&config).get(&url("/"), SOON).await).await;
    let parts: Vec<&str> = token.strip_prefix("Bearer ").expect("bearer").split('.').collect();
    let decode = |part: &str| {
        use base64::Engine;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")
    };
    let header: serde_json::Value = serde_json::from_slice(&decode(parts[0])).expect("json");
    assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims: serde_json::Value = serde_json::from_slice(&decode(parts[1])).expect("json");
    assert_eq!((&claims["iss"], &claims["sub"], &claims["n"]), (&"me".into(), &"me".into(), &1.into()));
    assert_eq!((&claims["aud"], &claims["scope"]), (&url("/token").into(), &"s".into()));
    assert_eq!(decode(parts[2]).len(), 256);
}

/// A server with a certificate of the test CA that answers with the protocol.
async fn tls_server(dir: &std::path::Path, more: &str) -> crate::testing::Server {
    let file = dir.join("web.yml");
    let (cert, key) = (testdata("server.pem"), testdata("server.key"));
    write(
        &file,
        &format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\n{more}",
            cert.display(),
            key.display()
        ),
    );
    serve_web(&file, |r| text(200, &format!("{:?}", r.version()))).await
}

#[tokio::test]
async fn tls_is_checked_by_ca_and_name() {
    let dir = tempfile::tempdir().expect("dir");
    let server = tls_server(dir.path(), "").await;
    let url = format!("https://{}/", server.address);
    let ca = testdata("ca.pem");
    let good = format!("tls_config: {{ca_file: {}}}", ca.display());
    assert_eq!(body(client(&good).get(&url, SOON).await).await, "HTTP/2.0");
    assert_eq!(body(client(&format!("{good}\nenable_http2: false")).get(&url, SOON).await).await, "HTTP/1.1");
    assert_eq!(
        body(client("tls_config: {insecure_skip_verify: true}").get(&url, SOON).await).await,
        "HTTP/2.0"
    );
    let named =
        |name: &str| client(&format!("tls_config: {{ca_file: {}, server_name: {name}}}", ca.display()));
    assert_eq!(body(named("monitor.example").get(&url, SOON).await).await, "HTTP/2.0");
    let error = named("other.example").get(&url, SOON).await.expect_err("other name").to_string();
    assert!(error.contains("tls: failed to verify certificate: x509: "), "{error}");
    let error = client("").get(&url, SOON).await.expect_err("unknown CA").to_string();
    assert!(error.ends_with("x509: certificate signed by unknown authority"), "{error}");
    let old = client(&format!("tls_config: {{ca_file: {}, max_version: TLS12}}", ca.display()));
    assert_eq!(body(old.get(&url, SOON).await).await, "HTTP/2.0");
    let plain = client("").get(&url.replace("https", "http"), SOON).await;
    assert_eq!(body(plain).await, "Client sent an HTTP request to an HTTPS server.\n");
    let missing: HttpClientConfig = yaml::from_str("tls_config: {ca_file: /none/ca.pem}").expect("reads");
    let error = HttpClient::new(&missing, ClientOptions::default()).expect_err("no CA").to_string();
    assert!(error.starts_with("unable to read CA cert: unable to read file /none/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_changed_ca_file_is_used_at_once() {
    let dir = tempfile::tempdir().expect("dir");
    let server = tls_server(dir.path(), "").await;
    let url = format!("https://{}/", server.address);
    let ca = dir.path().join("ca.pem");
    write(&ca, &read("self.pem"));
    let client = client(&format!("tls_config: {{ca_file: {}}}", ca.display()));
    client.get(&url, SOON).await.expect_err("not its CA");
    write(&ca, &read("ca.pem"));
    assert_eq!(body(client.get(&url, SOON).await).await, "HTTP/2.0");
}

#[tokio::test]
async fn a_self_signed_certificate_may_be_its_own_ca() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("web.yml");
    let (cert, key) = (testdata("self.pem"), testdata("self.key"));
    write(
        &file,
        &format!("tls_server_config: {{cert_file: {}, key_file: {}}}", cert.display(), key.display()),
    );
    let server = serve_web(&file, |_| text(200, "in")).await;
    let config = format!("tls_config: {{ca_file: {}}}", cert.display());
    assert_eq!(body(client(&config).get(&format!("https://{}/", server.address), SOON).await).await, "in");
    let wrong = format!("tls_config: {{ca_file: {}, server_name: other.example}}", cert.display());
    let error = client(&wrong).get(&format!("https://{}/", server.address), SOON).await;
    assert!(error.expect_err("other name").to_string().contains("x509: "));
}

/// A proxy: answers plain requests itself, opens tunnels to whatever is asked for, and notes what it saw.
async fn proxy(seen: Arc<Mutex<Vec<String>>>) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("reads"));
                }
                let head = String::from_utf8(head).expect("text");
                let target = head.split(' ').nth(1).unwrap_or("").to_owned();
                let connect = head.starts_with("CONNECT ");
                let allowed = head.to_lowercase().contains("proxy-authorization: basic dtpw\r\n");
                seen.lock().push(head);
                if !allowed {
                    stream
                        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                        .await
                        .expect("writes");
                } else if connect {
                    let mut peer = tokio::net::TcpStream::connect(target).await.expect("connects");
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("writes");
                    // Ends when either side does.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut peer).await;
                } else {
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
                    stream.write_all(answer.as_bytes()).await.expect("writes");
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn proxies_carry_plain_requests_and_tunnels() {
    let dir = tempfile::tempdir().expect("dir");
    let server = tls_server(dir.path(), "").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let proxy = proxy(Arc::clone(&seen)).await;
    let ca = testdata("ca.pem");
    let config = format!(
        "proxy_url: http://u:p@{proxy}\nproxy_connect_header: {{X-Tunnel: [t]}}\ntls_config: {{ca_file: {}}}",
        ca.display()
    );
    let through = client(&config);
    assert_eq!(
        body(through.get("http://example.invalid:81/a?b", SOON).await).await,
        "http://example.invalid:81/a?b"
    );
    assert_eq!(body(through.get(&format!("https://{}/", server.address), SOON).await).await, "HTTP/2.0");
    let heads = seen.lock().clone();
    let tunnel = heads[1].to_lowercase();
    assert!(tunnel.starts_with(&format!("connect {} http/1.1\r\n", server.address)), "{tunnel}");
    assert!(tunnel.contains("x-tunnel: t\r\n"), "{tunnel}");
    let stranger = client(&format!("proxy_url: http://{proxy}"));
    let error = stranger.get(&format!("https://{}/", server.address), SOON).await.expect_err("refused");
    assert!(error.to_string().ends_with(": Proxy Authentication Required"), "{error}");
    let around = client(&format!("{config}\nno_proxy: example.invalid"));
    assert_eq!(body(around.get(&format!("https://{}/", server.address), SOON).await).await, "HTTP/2.0");
    assert_eq!(seen.lock().len(), 3, "loopback goes around a proxy with exceptions");
}
