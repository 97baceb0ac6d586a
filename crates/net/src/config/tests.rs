//! Tests of the client section: upstream's refusals, old spellings, what is shown.

use super::*;

fn read(text: &str) -> Result<HttpClientConfig, yaml::Error> {
    yaml::from_str(text)
}

#[track_caller]
fn fails(text: &str, want: &str) {
    let got = read(text).expect_err(text);
    assert_eq!(got.0[0].text, want, "{text}");
}

#[test]
fn contradictions_are_refused_in_upstreams_words() {
    fails(
        "bearer_token: a\nbearer_token_file: b",
        "at most one of bearer_token & bearer_token_file must be configured",
    );
    fails(
        "basic_auth: {username: a}\nbearer_token: b",
        "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
    );
    fails(
        "basic_auth: {username: a, username_file: b}",
        "at most one of basic_auth username, username_file & username_ref must be configured",
    );
    fails(
        "basic_auth: {password: a, password_file: b}",
        "at most one of basic_auth password, password_file & password_ref must be configured",
    );
    fails(
        "basic_auth: {username: a}\nauthorization: {credentials: b}",
        "at most one of basic_auth, oauth2 & authorization must be configured",
    );
    fails(
        "authorization: {type: BASIC}",
        "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
    );
    fails(
        "authorization: {credentials: a}\nbearer_token: b",
        "authorization is not compatible with bearer_token & bearer_token_file",
    );
    fails("oauth2: {client_id: a}", "oauth2 token_url must be configured");
    fails("oauth2: {token_url: a}", "oauth2 client_id must be configured");
    fails("no_proxy: a", "if no_proxy is configured, proxy_url must also be configured");
    fails(
        "proxy_from_environment: true\nproxy_url: http://a",
        "if proxy_from_environment is configured, proxy_url must not be configured",
    );
    fails(
        "proxy_connect_header: {a: [b]}",
        "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
    );
    fails("http_headers: {content-TYPE: {values: [a]}}", "setting header \"Content-Type\" is not allowed");
    fails("tls_config: {min_version: TLS14}", "unknown TLS version: TLS14");
    fails(
        "tls_config: {cert: a}",
        "exactly one of key or key_file must be configured when a client certificate is configured",
    );
    fails("tls_config: {ca: a, ca_file: b}", "at most one of ca, ca_file & ca_ref must be configured");
    fails("tls_config: {nope: a}", "field nope not found in type TlsConfig");
    fails("basic_auth: {username_ref: a}", "cannot use secret ref without manager");
}

#[test]
fn what_is_not_supported_is_refused() {
    fails("proxy_url: socks5://a:1080", "proxy scheme \"socks5\" is not supported in this version");
    for (old, number) in [("TLS10", 10), ("TLS11", 11)] {
        let want =
            format!("tls_config.max_version {old} is not supported in this version: TLS12 is the oldest");
        fails(&format!("tls_config: {{max_version: {old}}}"), &want);
        let least = read(&format!("tls_config: {{min_version: {old}}}"));
        assert!(least.is_ok(), "TLS {number} as the oldest: {:?}", least.err());
    }
}

#[test]
fn old_spellings_move_and_paths_join() {
    let mut config =
        read("bearer_token_file: t\ntls_config: {ca_file: c, cert_file: /d, key_file: e}").expect("reads");
    config.set_directory(Path::new("/etc"));
    let auth = config.authorization.clone().expect("moved");
    assert_eq!((auth.kind.as_str(), auth.credentials_file.as_path()), ("Bearer", Path::new("/etc/t")));
    assert_eq!(config.tls_config.ca_file, Path::new("/etc/c"));
    assert_eq!(config.tls_config.cert_file, Path::new("/d"));
    config.validate().expect("may be repeated");
}

#[test]
fn secrets_are_not_shown() {
    let text = "basic_auth: {username: 007, password: hush}
proxy_url: http://u:hush@p:1/
proxy_connect_header: {X: [hush]}
http_headers: {a: {values: [v], secrets: [hush], files: [f]}}
tls_config: {cert: c, key: hush}
";
    let config = read(text).expect("reads");
    let shown = yaml::to_string(&config).expect("writes");
    assert!(!shown.contains("hush"), "{shown}");
    assert!(!format!("{config:?}").contains("hush"));
    assert!(
        shown.contains("username: \"007\"\n") && shown.contains("proxy_url: http://u:xxxxx@p:1\n"),
        "{shown}"
    );
}
