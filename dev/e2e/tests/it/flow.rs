//! Samples flow from an agent to a receiver, for every pair of ours and the peers.

use e2e::node::{Node, PATIENCE, Role};
use e2e::peers::Peer;
use e2e::process::{Process, free_port};
use e2e::query::{self, eventually};
use e2e::target::CountingTarget;
use std::path::Path;

/// An agent's configuration: one counting target, the cluster's label, one destination.
fn agent_config(cluster: &str, target: &str, write_url: &str, more: &str) -> String {
    format!(
        "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n  external_labels:\n    cluster: {cluster}\n\
         scrape_configs:\n  - job_name: truth\n    static_configs:\n      - targets: ['{target}']\n\
         remote_write:\n  - url: {write_url}\n    queue_config:\n      batch_send_deadline: 250ms\n{more}"
    )
}

fn receiver_args() -> [&'static str; 1] {
    ["--web.enable-remote-write-receiver"]
}

/// Waits until `sum(up) by (cluster)` shows every cluster.
#[track_caller]
fn wait_for_clusters(address: &str, clusters: &[&str]) {
    eventually("both clusters", PATIENCE, || {
        let rows = query::vector(address, "sum(up) by (cluster)");
        let seen: Vec<_> =
            rows.iter().filter(|r| r.1 == "1").filter_map(|r| r.0["cluster"].as_str()).collect();
        if clusters.iter().all(|c| seen.contains(c)) { Ok(()) } else { Err(format!("{rows:?}")) }
    });
}

fn agents_to(receiver: &str, agents: &[(&Path, &str)], more: &str) -> Vec<(Node, CountingTarget)> {
    let url = format!("http://{receiver}/api/v1/write");
    agents
        .iter()
        .map(|(program, cluster)| {
            let target = CountingTarget::start();
            let config = agent_config(cluster, &target.address, &url, more);
            (Node::start(program, Role::Agent, &config, &[]), target)
        })
        .collect()
}

#[test]
fn our_agents_to_our_receiver() {
    let ours = e2e::pyrrha();
    let receiver = Node::start(&ours, Role::Server, "global: {}\n", &receiver_args());
    let agents = agents_to(&receiver.address, &[(&ours, "paris"), (&ours, "tokyo")], "");
    wait_for_clusters(&receiver.address, &["paris", "tokyo"]);
    receiver.assert_quiet(&[]);
    for (agent, _) in &agents {
        agent.assert_quiet(&[]);
    }
}

#[test]
fn remote_write_2_to_our_receiver() {
    let ours = e2e::pyrrha();
    let receiver = Node::start(&ours, Role::Server, "global: {}\n", &receiver_args());
    let v2 = "    protobuf_message: io.prometheus.write.v2.Request\n";
    let mut programs = vec![(ours.as_path(), "paris")];
    let prometheus = Peer::Prometheus.find_for("remote_write_2_to_our_receiver");
    if let Some(path) = &prometheus
        && !e2e::peers::version_of(path).starts_with("2.")
    {
        programs.push((path, "tokyo"));
    }
    let agents = agents_to(&receiver.address, &programs, v2);
    let clusters: Vec<_> = programs.iter().map(|p| p.1).collect();
    wait_for_clusters(&receiver.address, &clusters);
    receiver.assert_quiet(&[]);
    drop(agents);
}

#[test]
fn prometheus_agent_to_our_receiver() {
    let Some(prometheus) = Peer::Prometheus.find_for("prometheus_agent_to_our_receiver") else { return };
    let receiver = Node::start(&e2e::pyrrha(), Role::Server, "global: {}\n", &receiver_args());
    // 2.x spells agent mode as a feature; the current peer as a flag. `Role::Agent` uses the flag.
    if e2e::peers::version_of(&prometheus).starts_with("2.") {
        eprintln!("prometheus_agent_to_our_receiver: SKIPPED, Prometheus 2.x has no --agent");
        return;
    }
    let agents = agents_to(&receiver.address, &[(&prometheus, "paris"), (&prometheus, "tokyo")], "");
    wait_for_clusters(&receiver.address, &["paris", "tokyo"]);
    receiver.assert_quiet(&[]);
    drop(agents);
}

#[test]
fn our_agent_to_prometheus() {
    let Some(prometheus) = Peer::Prometheus.find_for("our_agent_to_prometheus") else { return };
    let receiver = Node::start(&prometheus, Role::Server, "global: {}\n", &receiver_args());
    let ours = e2e::pyrrha();
    let agents = agents_to(&receiver.address, &[(&ours, "paris"), (&ours, "tokyo")], "");
    wait_for_clusters(&receiver.address, &["paris", "tokyo"]);
    for (agent, _) in &agents {
        agent.assert_quiet(&[]);
    }
}

#[test]
fn our_agent_to_victoria_metrics() {
    let Some(program) = Peer::VictoriaMetrics.find_for("our_agent_to_victoria_metrics") else { return };
    let dir = tempfile::tempdir().expect("temporary folder");
    let address = format!("127.0.0.1:{}", free_port());
    let args = [
        format!("-storageDataPath={}", dir.path().join("data").display()),
        format!("-httpListenAddr={address}"),
        "-search.latencyOffset=0s".into(),
    ];
    let mut victoria = Process::start(&program, &args, &address, &dir.path().join("log")).expect("starts");
    victoria.wait_ready("/health").expect("VictoriaMetrics is ready");
    let ours = e2e::pyrrha();
    let agents = agents_to(&address, &[(&ours, "paris"), (&ours, "tokyo")], "");
    wait_for_clusters(&address, &["paris", "tokyo"]);
    for (agent, _) in &agents {
        agent.assert_quiet(&[]);
    }
}

#[test]
fn write_relabelling_and_external_labels_reach_only_the_receiver() {
    let ours = e2e::pyrrha();
    let receiver = Node::start(&ours, Role::Server, "global: {}\n", &receiver_args());
    let target = CountingTarget::start();
    let url = format!("http://{}/api/v1/write", receiver.address);
    let relabel = "    write_relabel_configs:\n      - source_labels: [__name__]\n        regex: e2e_gauge\n        \
                   action: drop\n      - target_label: clusters\n        replacement: test\n";
    let config = agent_config("kind", &target.address, &url, relabel);
    // A full server with remote_write, as in the platform deployments.
    let server = Node::start(&ours, Role::Server, &config, &[]);
    eventually("relabelled series", PATIENCE, || {
        let rows = query::vector(&receiver.address, "e2e_scrapes_total{clusters=\"test\",cluster=\"kind\"}");
        if rows.is_empty() { Err("none".into()) } else { Ok(()) }
    });
    assert!(query::vector(&receiver.address, "e2e_gauge").is_empty(), "dropped before sending");
    assert_eq!(query::vector(&server.address, "e2e_gauge").len(), 1, "kept locally");
    assert!(query::vector(&server.address, "{cluster=\"kind\"}").is_empty(), "external labels are not local");
}
