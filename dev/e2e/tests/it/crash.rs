//! `kill -9` of receiver and agent while samples flow: nothing acknowledged and nothing scraped is lost.

use e2e::http::Connection;
use e2e::node::{Node, PATIENCE, Role};
use e2e::push::{self, Series};
use e2e::query::{self, eventually};
use e2e::target::CountingTarget;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[test]
fn acknowledged_samples_survive_kill_of_the_receiver() {
    let mut receiver =
        Node::start(&e2e::pyrrha(), Role::Server, "global: {}\n", &["--web.enable-remote-write-receiver"]);
    let start = now_ms() - 200_000;
    let mut acknowledged = 0u64;
    for round in 0..4 {
        let mut connection = Connection::open(&receiver.address).expect("connects");
        for _ in 0..50 {
            let t = start + acknowledged as i64 * 100;
            let labels = [("__name__", "acked_total"), ("job", "crash")];
            let series = [Series { labels: &labels, samples: &[(t, acknowledged as f64)] }];
            let reply = push::post(&mut connection, &series).expect("an answer");
            assert_eq!(reply.status, 204, "{}", String::from_utf8_lossy(&reply.body));
            acknowledged += 1;
        }
        receiver.kill();
        receiver.run();
        let kept = query::raw(&receiver.address, "acked_total[10m]").len() as u64;
        assert_eq!(kept, acknowledged, "after kill number {round}");
    }
    receiver.assert_quiet(&[]);
}

#[test]
fn scraped_samples_survive_kills_of_both_sides() {
    let ours = e2e::pyrrha();
    let target = CountingTarget::start();
    let mut receiver =
        Node::start(&ours, Role::Server, "global: {}\n", &["--web.enable-remote-write-receiver"]);
    let config = format!(
        "global:\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n  external_labels: {{cluster: paris}}\n\
         scrape_configs:\n  - job_name: truth\n    static_configs:\n      - targets: ['{}']\n\
         remote_write:\n  - url: http://{}/api/v1/write\n    queue_config:\n      batch_send_deadline: 200ms\n",
        target.address, receiver.address
    );
    let mut agent = Node::start(&ours, Role::Agent, &config, &[]);
    let arrived = |receiver: &Node| -> BTreeSet<u64> {
        query::raw(&receiver.address, "e2e_scrapes_total[30m]")
            .iter()
            .filter_map(|(_, v)| v.parse::<u64>().ok())
            .collect()
    };
    let reach = |receiver: &Node, what: &str, n: u64| {
        eventually(what, PATIENCE, || {
            let last = arrived(receiver).last().copied().unwrap_or(0);
            if last >= n { Ok(()) } else { Err(format!("last is {last}, want {n}")) }
        });
    };
    // Numbers that the target served but whose scrape the kill cut off before it was logged.
    let mut cut_off = BTreeSet::new();

    reach(&receiver, "flow begins", 5);
    receiver.kill();
    eventually("scrapes go on while the receiver is dead", PATIENCE, || {
        if target.served() >= 30 { Ok(()) } else { Err(format!("{}", target.served())) }
    });
    agent.kill();
    cut_off.insert(target.served());
    agent.run();
    let after = target.served();
    eventually("scrapes go on after the agent's return", PATIENCE, || {
        if target.served() >= after + 10 { Ok(()) } else { Err(format!("{}", target.served())) }
    });
    receiver.run();
    reach(&receiver, "the backlog arrives", after + 10);
    agent.kill();
    cut_off.insert(target.served());
    agent.run();
    let last = target.served() + 5;
    reach(&receiver, "flow goes on", last);

    let seen = arrived(&receiver);
    let missing: Vec<u64> = (1..=last).filter(|n| !seen.contains(n) && !cut_off.contains(n)).collect();
    assert!(missing.is_empty(), "scraped and lost: {missing:?}; agent log:\n{}", agent.log());
}
