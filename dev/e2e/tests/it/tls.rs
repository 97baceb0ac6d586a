//! TLS and basic auth on the way: our agent through a real nginx, and our own listener.

use e2e::node::{Node, PATIENCE, Role};
use e2e::peers::Peer;
use e2e::process::{Process, free_port};
use e2e::query::{self, eventually};
use e2e::target::CountingTarget;
use std::path::Path;
use std::process::Command;

/// A self-signed certificate for localhost as `cert.pem` and `key.pem` in `dir`.
fn certificate(openssl: &Path, dir: &Path) {
    let status = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .output()
        .expect("openssl runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

fn agent_config(target: &str, url: &str, auth: &str) -> String {
    format!(
        "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n  external_labels: {{cluster: paris}}\n\
         scrape_configs:\n  - job_name: truth\n    static_configs:\n      - targets: ['{target}']\n\
         remote_write:\n  - url: {url}\n    queue_config: {{batch_send_deadline: 250ms}}\n{auth}"
    )
}

#[test]
fn through_nginx_with_tls_and_basic_auth() {
    let test = "through_nginx_with_tls_and_basic_auth";
    let (Some(nginx), Some(openssl)) = (Peer::Nginx.find_for(test), Peer::OpenSsl.find_for(test)) else {
        return;
    };
    let ours = e2e::pyrrha();
    let receiver = Node::start(&ours, Role::Server, "global: {}\n", &["--web.enable-remote-write-receiver"]);
    let dir = tempfile::tempdir().expect("temporary folder");
    certificate(&openssl, dir.path());
    let digest = Command::new(&openssl).args(["passwd", "-apr1", "sesame"]).output().expect("openssl runs");
    let users = format!("agent:{}", String::from_utf8_lossy(&digest.stdout));
    std::fs::write(dir.path().join("users"), users).expect("written");
    let port = free_port();
    let home = dir.path().display();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/error.log;\nevents {{}}\nhttp {{\n\
         access_log {home}/access.log;\nclient_body_temp_path {home}/body;\nproxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/f;\nuwsgi_temp_path {home}/u;\nscgi_temp_path {home}/s;\nserver {{\n\
         listen 127.0.0.1:{port} ssl;\nssl_certificate {home}/cert.pem;\nssl_certificate_key {home}/key.pem;\n\
         location /clusters/paris/ {{ auth_basic on; auth_basic_user_file {home}/users;\n\
         proxy_pass http://{}/; }}\n}}\n}}\n",
        receiver.address
    );
    std::fs::write(dir.path().join("nginx.conf"), config).expect("written");
    let args = ["-c".to_owned(), format!("{home}/nginx.conf"), "-p".into(), home.to_string()];
    let _nginx = Process::start(&nginx, &args, "", &dir.path().join("log")).expect("nginx starts");
    eventually("nginx listens", PATIENCE, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| e.to_string())
    });

    let url = format!("https://127.0.0.1:{port}/clusters/paris/api/v1/write");
    let auth = format!(
        "    basic_auth: {{username: agent, password: sesame}}\n    tls_config: {{ca_file: {home}/cert.pem}}\n"
    );
    let target = CountingTarget::start();
    let agent = Node::start(&ours, Role::Agent, &agent_config(&target.address, &url, &auth), &[]);
    eventually("samples arrive through nginx", PATIENCE, || {
        let rows = query::vector(&receiver.address, "up{cluster=\"paris\"}");
        if rows.is_empty() { Err(agent.log()) } else { Ok(()) }
    });
    agent.assert_quiet(&[]);

    // Verification off instead of a CA, as the platform deployments write it.
    let auth =
        "    basic_auth: {username: agent, password: sesame}\n    tls_config: {insecure_skip_verify: true}\n";
    let config = agent_config(&target.address, &url, auth).replace("cluster: paris", "cluster: tokyo");
    let second = Node::start(&ours, Role::Agent, &config, &[]);
    eventually("samples arrive without verification", PATIENCE, || {
        let rows = query::vector(&receiver.address, "up{cluster=\"tokyo\"}");
        if rows.is_empty() { Err(second.log()) } else { Ok(()) }
    });
}

#[test]
fn own_listener_with_tls_and_basic_auth() {
    let test = "own_listener_with_tls_and_basic_auth";
    let Some(openssl) = Peer::OpenSsl.find_for(test) else { return };
    let Some(curl) = std::env::var_os("PATH")
        .and_then(|p| std::env::split_paths(&p).map(|d| d.join("curl")).find(|c| c.is_file()))
    else {
        eprintln!("{test}: SKIPPED, curl is not installed");
        return;
    };
    let dir = tempfile::tempdir().expect("temporary folder");
    certificate(&openssl, dir.path());
    // bcrypt of "sesame", cost 4.
    let web = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n\
               basic_auth_users: {alice: '$2b$04$GxsmfZETaVhnM1DBDamwgu/EWXld3xhdzk.wc2YHppACo.yZVxow2'}\n";
    std::fs::write(dir.path().join("web.yml"), web).expect("written");
    std::fs::write(dir.path().join("prometheus.yml"), "global: {}\n").expect("written");
    let address = format!("127.0.0.1:{}", free_port());
    let args = [
        format!("--config.file={}", dir.path().join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", dir.path().join("data").display()),
        format!("--web.listen-address={address}"),
        format!("--web.config.file={}", dir.path().join("web.yml").display()),
    ];
    let log = dir.path().join("log");
    let _server = Process::start(&e2e::pyrrha(), &args, &address, &log).expect("starts");
    let fetch = |user: &str| -> (String, String) {
        let url = format!("https://{address}/api/v1/query?query=up");
        let cacert = dir.path().join("cert.pem");
        let output = Command::new(&curl)
            .args(["-s", "-u", user, "-w", "\n%{http_code}", "--cacert"])
            .arg(&cacert)
            .arg(url)
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, code) = text.rsplit_once('\n').unwrap_or(("", "000"));
        (code.to_owned(), body.to_owned())
    };
    let body = eventually("a signed-in query is answered", PATIENCE, || match fetch("alice:sesame") {
        (code, body) if code == "200" => Ok(body),
        other => Err(format!("{other:?} {}", std::fs::read_to_string(&log).unwrap_or_default())),
    });
    assert!(body.starts_with("{\"status\":\"success\",\"data\":{"), "{body}");
    assert_eq!(fetch("alice:wrong").0, "401");
    assert_eq!(fetch("bob:sesame").0, "401");
}
