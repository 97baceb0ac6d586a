//! Tests of the web configuration file.

use super::*;
use crate::client::{ClientError, ClientOptions, HttpClient, Response};
use crate::config::HttpClientConfig;
use crate::testing::{Server, serve_web, testdata, text, write};

const SOON: Duration = Duration::from_secs(20);
/// bcrypt of `pw` at the lowest cost.
fn hash() -> String {
    bcrypt::hash("pw", 4).expect("hashes")
}

async fn get(server: &Server, scheme: &str, config: &str) -> Result<Response, ClientError> {
    let config: HttpClientConfig = yaml::from_str(config).expect("reads");
    let client = HttpClient::new(&config, ClientOptions::default()).expect("builds");
    client.get(&format!("{scheme}://{}/", server.address), SOON).await
}

async fn status(server: &Server, config: &str) -> u16 {
    get(server, "http", config).await.expect("answers").status.as_u16()
}

#[tokio::test]
async fn users_are_checked_and_followed() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("web.yml");
    write(&file, "");
    let server = serve_web(&file, |_| text(200, "in")).await;
    assert_eq!(status(&server, "").await, 200, "an empty file changes nothing");
    let users = format!("basic_auth_users: {{ann: '{}'}}\n", hash().replacen("$2b$", "$2y$", 1));
    write(&file, &format!("{users}http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"));
    let ann = "basic_auth: {username: ann, password: pw}";
    assert_eq!(status(&server, ann).await, 200);
    assert_eq!(status(&server, ann).await, 200);
    assert_eq!(status(&server, "basic_auth: {username: ann, password: other}").await, 401);
    assert_eq!(status(&server, "basic_auth: {username: bob, password: fakepassword}").await, 401);
    assert_eq!(status(&server, "authorization: {credentials: pw}").await, 401);
    let refused = get(&server, "http", "").await.expect("answers");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header(http::header::WWW_AUTHENTICATE), "Basic");
    assert_eq!(refused.header(http::header::X_FRAME_OPTIONS), "deny");
    assert_eq!(refused.header(http::header::CONTENT_TYPE), "text/plain; charset=utf-8");
    assert_eq!(&refused.read_body(100).await.expect("body")[..], b"Unauthorized\n");
    write(&file, "nope: 1");
    assert_eq!(status(&server, ann).await, 500);
    write(&file, "basic_auth_users: {}");
    assert_eq!(status(&server, "").await, 200);
}

#[tokio::test]
async fn requests_beyond_the_rate_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("web.yml");
    write(&file, "rate_limit: {burst: 2, interval: 1h}");
    let server = serve_web(&file, |_| text(200, "in")).await;
    let seen = [status(&server, "").await, status(&server, "").await, status(&server, "").await];
    assert_eq!(seen, [200, 200, 429]);
}

fn tls(more: &str) -> String {
    let (cert, key) = (testdata("server.pem"), testdata("server.key"));
    format!("tls_server_config:\n  cert_file: {}\n  key_file: {}\n{more}", cert.display(), key.display())
}

/// Whether a client gets in, without and with a certificate of the CA, and with one of its own.
async fn policy(kind: &str, more: &str) -> [bool; 3] {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("web.yml");
    write(&file, &tls(&format!("  client_auth_type: {kind}\n{more}")));
    let server = serve_web(&file, |_| text(200, "in")).await;
    let with = |name: &str| {
        let (ca, cert, key) =
            (testdata("ca.pem"), testdata(&format!("{name}.pem")), testdata(&format!("{name}.key")));
        let (ca, cert, key) = (ca.display(), cert.display(), key.display());
        format!("tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}")
    };
    let without = format!("tls_config: {{ca_file: {}}}", testdata("ca.pem").display());
    let mut passed = [false; 3];
    for (i, config) in [without, with("client"), with("self")].iter().enumerate() {
        passed[i] = get(&server, "https", config).await.is_ok();
    }
    passed
}

#[tokio::test]
async fn client_certificates_by_policy() {
    let ca = format!("  client_ca_file: {}\n", testdata("ca.pem").display());
    assert_eq!(policy("NoClientCert", "").await, [true, true, true]);
    assert_eq!(policy("RequestClientCert", "").await, [true, true, true]);
    assert_eq!(policy("RequireAnyClientCert", "").await, [false, true, true]);
    assert_eq!(policy("VerifyClientCertIfGiven", &ca).await, [true, true, false]);
    assert_eq!(policy("RequireAndVerifyClientCert", &ca).await, [false, true, false]);
    for (name, want) in
        [("agent.example", true), ("10.0.0.1", true), ("spiffe://example/agent", true), ("x", false)]
    {
        let sans = format!("{ca}  client_allowed_sans: ['{name}']\n");
        assert_eq!(policy("RequireAndVerifyClientCert", &sans).await, [false, want, false], "{name}");
    }
}

#[tokio::test]
async fn a_changed_certificate_is_used_at_once() {
    let dir = tempfile::tempdir().expect("dir");
    let (file, cert, key) = (dir.path().join("web.yml"), dir.path().join("c.pem"), dir.path().join("k.pem"));
    let copy = |name: &str| {
        write(&cert, &crate::testing::read(&format!("{name}.pem")));
        write(&key, &crate::testing::read(&format!("{name}.key")));
    };
    copy("server");
    write(&file, "tls_server_config: {cert_file: c.pem, key_file: k.pem}");
    let server = serve_web(&file, |_| text(200, "in")).await;
    let trusting = |name: &str| format!("tls_config: {{ca_file: {}}}", testdata(name).display());
    assert!(get(&server, "https", &trusting("ca.pem")).await.is_ok());
    copy("self");
    assert!(get(&server, "https", &trusting("ca.pem")).await.is_err());
    assert!(get(&server, "https", &trusting("self.pem")).await.is_ok());
}

#[track_caller]
fn refused(text: &str, want: &str) {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("web.yml");
    write(&file, text);
    assert_eq!(check_file(&file).err().map(|e| e.0).unwrap_or_default(), want, "{text}");
}

#[test]
fn refusals_have_upstreams_texts() {
    refused("", "");
    refused(&tls(""), "");
    refused("basic_auth_users: {a: b}", "crypto/bcrypt: hashedSecret too short to be a bcrypted password");
    refused("tls_server_config: {cert: a}", "missing one of key or key_file");
    refused("tls_server_config: {key: a}", "missing one of cert or cert_file");
    refused("tls_server_config: {client_auth_type: NoClientCert}", "missing one of cert or cert_file");
    refused(&tls("  client_auth_type: x\n"), "invalid ClientAuth: x");
    refused(&tls("  client_ca: x\n"), "client CA's have been configured without a Client Auth Policy");
    refused(&tls("  cipher_suites: [x]\n"), "unknown cipher: x");
    refused(&tls("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  max_version: TLS12\n"), "");
    refused(&tls("  curve_preferences: [x]\n"), "unknown curve: x");
    refused(&tls("  curve_preferences: [CurveP256, X25519]\n"), "");
    refused("http_server_config: {headers: {X-Foo: a}}", "HTTP header \"X-Foo\" can not be configured");
    refused(
        "http_server_config: {headers: {X-Frame-Options: a}}",
        "invalid value for X-Frame-Options. Expected one of: [\"deny\" \"sameorigin\"], but got: \"a\"",
    );
    refused(
        "http_server_config: {http3: true}",
        "line 1: http_server_config: field http3 not found in type HttpServerConfig",
    );
    refused("rate_limit: {interval: 5x}", "line 1: rate_limit.interval: time: invalid duration \"5x\"");
}

#[test]
fn durations_are_gos() {
    let read = |text: &str| yaml::from_str::<RateLimit>(&format!("interval: {text}")).map(|l| l.interval);
    assert_eq!(read("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(read("1h2m"), Ok(Duration::from_secs(3720)));
    assert_eq!(read("250ms"), Ok(Duration::from_millis(250)));
    assert!(read("s").is_err() && read("1").is_ok());
}
