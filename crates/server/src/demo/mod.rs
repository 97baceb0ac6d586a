//! `pyrrha demo`: a receiver and two agents of two clusters as separate processes on loopback, scraping what is
//! real on this host, until Ctrl-C.

pub mod child;
mod files;

use child::Child;
use disk::{Disk, OsDisk};
use net::client::{ClientOptions, HttpClient};
use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for one process to become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for samples of both clusters.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const PROOF: &str = "sum(up) by (cluster)";
const CLUSTERS: [&str; 2] = ["paris", "tokyo"];

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where configuration, data and logs go; a directory that is removed afterwards when left out.
    pub dir: Option<PathBuf>,
    /// Stop this long after success, with exit code 0: for tests.
    pub duration: Option<Duration>,
}

const HELP: &str = "\
usage: pyrrha demo [<flags>]

Starts a receiver and two agents (clusters \"paris\" and \"tokyo\") on loopback. The agents scrape the
processes themselves and node_exporter, where it is installed, and push to the receiver.

  --dir=<path>           Keep configuration, data and logs here. A temporary directory when left out.
  --duration=<duration>  Stop by itself this long after both clusters were seen, e.g. 10s.
  -h, --help             This text.
";

/// Reads the flags behind `demo`. `Err` is a text to print and an exit code.
pub fn parse(args: &[String]) -> Result<Options, (String, u8)> {
    use clap::{Arg, ArgAction, Command};
    let command = Command::new("pyrrha demo")
        .disable_help_flag(true)
        .arg(Arg::new("dir").long("dir"))
        .arg(Arg::new("duration").long("duration"))
        .arg(Arg::new("help").long("help").short('h').action(ArgAction::SetTrue));
    let argv = std::iter::once("pyrrha demo").chain(args.iter().map(String::as_str));
    let found = command.try_get_matches_from(argv).map_err(|e| (e.to_string(), 2))?;
    if found.get_flag("help") {
        return Err((HELP.to_owned(), 0));
    }
    let duration = match found.get_one::<String>("duration") {
        None => None,
        Some(text) => {
            let ms = model::duration::parse_duration(text).map_err(|e| (format!("--duration: {e}\n"), 2))?;
            Some(Duration::from_millis(ms.unsigned_abs()))
        }
    };
    Ok(Options { dir: found.get_one::<String>("dir").map(PathBuf::from), duration })
}

/// Runs the demo to its end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let disk: Arc<dyn Disk> = OsDisk::shared();
    let (dir, temporary) = match &options.dir {
        Some(dir) => (dir.clone(), false),
        None => (std::env::temp_dir().join(format!("pyrrha-demo-{}", std::process::id())), true),
    };
    disk.create_dir_all(&dir)?;
    let dir = absolute(&dir)?;
    let mut children = VecDeque::new();
    let result = tokio::select! {
        result = show(&options, &disk, &dir, &mut children) => result,
        () = interrupted() => Ok(()),
    };
    println!("\nStopping …");
    // Agents first, so that they can deliver what they hold.
    while let Some(child) = children.pop_back() {
        child.stop().await;
    }
    if temporary && result.is_ok() {
        disk.remove_dir_all(&dir)?;
    } else {
        println!("Configuration, data and logs are in {}", dir.display());
    }
    result
}

fn absolute(dir: &Path) -> anyhow::Result<PathBuf> {
    Ok(if dir.is_absolute() { dir.to_owned() } else { std::env::current_dir()?.join(dir) })
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

struct Plan {
    receiver: u16,
    agents: [u16; 2],
    node: Option<(PathBuf, u16)>,
}

/// Ports that are free now, all different: each listener is held until the last port is known.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

async fn show(
    options: &Options,
    disk: &Arc<dyn Disk>,
    dir: &Path,
    children: &mut VecDeque<Child>,
) -> anyhow::Result<()> {
    let [receiver, first, second, node_port] = free_ports()?;
    let node = child::find(&["prometheus-node-exporter", "node_exporter"], disk).map(|p| (p, node_port));
    let plan = Plan { receiver, agents: [first, second], node };
    println!("Pyrrha demo: a receiver and two agents as separate processes.\n");
    println!("  data       {}", dir.display());
    let client = HttpClient::new(&net::config::HttpClientConfig::default(), ClientOptions::default())?;
    start(disk, dir, &plan, &client, children).await?;

    let base = format!("http://127.0.0.1:{}", plan.receiver);
    println!("  waiting for samples of both clusters …");
    let seen = wait_for_clusters(&client, &base, children).await?;
    println!("\n  {PROOF}");
    for (cluster, value) in &seen {
        println!("    {{cluster=\"{cluster}\"}}  {value}");
    }
    println!("\nOpen {base}/ or ask from a shell:\n");
    for query in queries(plan.node.is_some()) {
        println!("  curl -sG {base}/api/v1/query --data-urlencode 'query={query}'");
    }
    match options.duration {
        Some(duration) => {
            println!("\nRunning for {} s.", duration.as_secs_f64());
            tokio::select! {
                () = tokio::time::sleep(duration) => Ok(()),
                gone = child::first_exit(children) => Err(gone),
            }
        }
        None => {
            println!("\nCtrl-C stops everything.");
            Err(child::first_exit(children).await)
        }
    }
}

fn queries(node: bool) -> Vec<&'static str> {
    let mut queries = vec![
        PROOF,
        "sum by (cluster) (rate(process_cpu_seconds_total[1m]))",
        "sum by (cluster) (scrape_samples_scraped)",
    ];
    if node {
        queries.push("node_memory_MemAvailable_bytes / 2^20");
    }
    queries
}

async fn start(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    plan: &Plan,
    client: &HttpClient,
    children: &mut VecDeque<Child>,
) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let path = |name: &str| dir.join(name).display().to_string();
    let listen = |port: u16| format!("--web.listen-address=127.0.0.1:{port}");
    files::write(disk, &dir.join("receiver.yml"), &files::receiver())?;
    let args = vec![
        format!("--config.file={}", path("receiver.yml")),
        format!("--storage.tsdb.path={}", path("receiver")),
        listen(plan.receiver),
        "--web.enable-remote-write-receiver".into(),
        "--enable-feature=exemplar-storage".into(),
    ];
    launch("receiver", &program, args, plan.receiver, disk, dir, client, children).await?;
    match &plan.node {
        Some((program, port)) => {
            // Not ready to be waited for: the agents show whether it is up.
            let child = Child::start_foreign("node", program, vec![listen(*port)], disk, dir)?;
            println!("  node       http://127.0.0.1:{port}   ({})", program.display());
            children.push_back(child);
        }
        None => {
            println!("  node       node_exporter is not installed here; the processes themselves are scraped")
        }
    }
    for (cluster, port) in CLUSTERS.into_iter().zip(plan.agents) {
        let mut targets = BTreeMap::from([("agent", port)]);
        if let Some((_, node)) = &plan.node {
            targets.insert("node", *node);
        }
        if cluster == CLUSTERS[0] {
            targets.insert("receiver", plan.receiver);
        }
        let name = format!("{cluster}.yml");
        files::write(disk, &dir.join(&name), &files::agent(cluster, &targets, plan.receiver))?;
        let args = vec![
            "--agent".into(),
            format!("--config.file={}", path(&name)),
            format!("--storage.agent.path={}", path(cluster)),
            listen(port),
        ];
        launch(cluster, &program, args, port, disk, dir, client, children).await?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "a step of `start`, taken apart for reading")]
async fn launch(
    name: &str,
    program: &Path,
    args: Vec<String>,
    port: u16,
    disk: &Arc<dyn Disk>,
    dir: &Path,
    client: &HttpClient,
    children: &mut VecDeque<Child>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    children.push_back(Child::start(name, program, args, disk, dir)?);
    let url = format!("http://127.0.0.1:{port}");
    print!("  {name:<10} {url}   starting …");
    flush();
    let ready = format!("{url}/-/ready");
    while !is_ok(client, &ready).await {
        check_alive(children).await?;
        if begin.elapsed() > READY_WITHIN {
            anyhow::bail!("{name} was not ready within {} s; see its log", READY_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(" ready after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// A line without its end shows only when it is pushed out.
fn flush() {
    use std::io::Write;
    let _ = std::io::stdout().flush();
}

async fn is_ok(client: &HttpClient, url: &str) -> bool {
    match client.get(url, Duration::from_secs(2)).await {
        Ok(response) => {
            let ok = response.status.is_success();
            response.discard().await;
            ok
        }
        Err(_) => false,
    }
}

async fn check_alive(children: &mut VecDeque<Child>) -> anyhow::Result<()> {
    for child in children {
        if let Some(why) = child.exited() {
            anyhow::bail!(why);
        }
    }
    Ok(())
}

async fn wait_for_clusters(
    client: &HttpClient,
    base: &str,
    children: &mut VecDeque<Child>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let begin = Instant::now();
    let url = format!("{base}/api/v1/query?query=sum(up)%20by%20(cluster)");
    loop {
        let seen = ask(client, &url).await.unwrap_or_default();
        if CLUSTERS.iter().all(|c| seen.contains_key(*c)) {
            return Ok(seen);
        }
        check_alive(children).await?;
        if begin.elapsed() > SEEN_WITHIN {
            anyhow::bail!("the receiver does not show both clusters after {} s", SEEN_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Value by cluster; `None` while there is no answer.
async fn ask(client: &HttpClient, url: &str) -> Option<BTreeMap<String, String>> {
    let response = client.get(url, Duration::from_secs(5)).await.ok()?;
    let body = response.read_body(1 << 20).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let result = answer.pointer("/data/result")?.as_array()?;
    let rows = result.iter().filter_map(|row| {
        let cluster = row.pointer("/metric/cluster")?.as_str()?;
        let value = row.pointer("/value/1")?.as_str()?;
        Some((cluster.to_owned(), value.to_owned()))
    });
    Some(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let args = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let got = parse(&args("--dir /x --duration=1m"));
        let want = Options { dir: Some("/x".into()), duration: Some(Duration::from_secs(60)) };
        assert_eq!(got, Ok(want));
        assert_eq!(parse(&args("--help")).map_err(|e| e.1), Err(0));
        assert_eq!(parse(&args("--nope")).map_err(|e| e.1), Err(2));
    }

    #[test]
    fn ports_differ() {
        let mut ports = free_ports::<4>().expect("loopback").to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
    }
}
