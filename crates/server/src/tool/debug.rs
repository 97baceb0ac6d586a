//! `debug metrics`: what a server says of itself, in an archive.

use super::FAILED;
use super::client::{Client, server_url};
use super::one;
use clap::ArgMatches;
use disk::{Disk, OsDisk};
use http::Method;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ARCHIVE: &str = "debug.tar.gz";
const TIMEOUT: Duration = Duration::from_secs(300);
const BLOCK: usize = 512;

/// The command.
pub(crate) fn metrics(m: &ArgMatches) -> u8 {
    match collect(m) {
        Ok(()) => {
            say!("Compiling debug information complete, all files written in \"{ARCHIVE}\".");
            0
        }
        Err(e) => {
            eprintln!("error completing debug command: {e}");
            FAILED
        }
    }
}

fn collect(m: &ArgMatches) -> Result<(), String> {
    let address = format!("{}/metrics", one(m, "server"));
    say!("collecting: {address}");
    let wrong = |e: String| format!("error executing HTTP request: {e}");
    let url = server_url(&address).map_err(wrong)?;
    let client = Client::new(m, None)?;
    let answer =
        client.send(Method::GET, &url, &[], Vec::new(), TIMEOUT).map_err(|e| wrong(e.to_string()))?;
    let archive = wire::cap::gzip(&tar("metrics.txt", &answer.body));
    let written = OsDisk.create(Path::new(ARCHIVE)).and_then(|file| file.append(&archive));
    written.map_err(|e| format!("error writing into the archive: {e}"))
}

/// An archive with one file, in the oldest format that every `tar` reads (`ustar`).
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; BLOCK];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000666\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, &format!("{now:011o}\0"));
    // The checksum is taken over a header whose own field is blank.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    // Filled up to whole blocks, and two empty ones at the end.
    archive.resize(archive.len().div_ceil(BLOCK) * BLOCK + 2 * BLOCK, 0);
    archive
}
