//! `cargo xtask`: the house's own checks. `tidy` compares the tree with its rules and names every breach.
//!
//! Checked: the sign on line 1 of each Rust file, the edges between rooms (`edges.txt`), where `unsafe` and
//! the standard file system may stand, which rooms must stay synchronous, and that ARCHITECTURE.md knows
//! every room. Long files are reported, not refused.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rooms that must not know an async runtime.
const SYNCHRONOUS: [&str; 10] =
    ["model", "meter", "disk", "chunk", "wire", "promql", "storage", "block", "query", "tsdb"];
const ASYNC_CRATES: [&str; 4] = ["tokio", "tokio-util", "hyper", "axum"];
/// Files that may hold `unsafe`: small drawers with a stated proof.
const UNSAFE_FILES: [&str; 1] = ["crates/disk/src/map.rs"];
/// Rooms whose shipped code may call `std::fs`; everyone else goes through `disk`.
const FILE_ROOMS: [&str; 1] = ["disk"];
/// Longer files are named in the report.
const LONG_FILE: usize = 600;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        other => {
            eprintln!("usage: cargo xtask tidy (got {other:?})");
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut faults = Vec::new();
    check_edges(&root, &mut faults);
    let mut long = Vec::new();
    for dir in ["crates", "dev"] {
        for file in rust_files(&root.join(dir)) {
            check_file(&root, &file, &mut faults, &mut long);
        }
    }
    check_map(&root, &mut faults);
    long.sort();
    for line in long.iter().rev() {
        println!("long: {line}");
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    println!("tidy: {} faults", faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                queue.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn check_file(root: &Path, file: &Path, faults: &mut Vec<String>, long: &mut Vec<String>) {
    let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
    let Ok(text) = fs::read_to_string(file) else {
        faults.push(format!("{name}: not readable as UTF-8"));
        return;
    };
    if !text.starts_with("//! ") {
        faults.push(format!("{name}:1: the first line must be `//! <what this file is>`"));
    }
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
    let lines = shipped.lines().count();
    if lines > LONG_FILE && !name.contains("/tests") {
        long.push(format!("{lines:5} {name}"));
    }
    let room = name.split('/').nth(1).unwrap_or("");
    let test_file = name.contains("/tests/") || name.ends_with("tests.rs") || name.contains("/examples/");
    for (number, line) in shipped.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        let is_unsafe =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        if is_unsafe && !UNSAFE_FILES.contains(&name.as_str()) && room != "xtask" {
            faults.push(format!("{name}:{}: unsafe outside its drawers", number + 1));
        }
        let is_room = name.starts_with("crates/") && !FILE_ROOMS.contains(&room);
        if is_room && !test_file && code.contains("std::fs") {
            faults.push(format!("{name}:{}: std::fs outside `disk`", number + 1));
        }
    }
}

/// Dependencies of a manifest's `[dependencies]` section.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && !line.is_empty() && !line.starts_with('#') {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect();
            found.push(name);
        }
    }
    found
}

fn check_edges(root: &Path, faults: &mut Vec<String>) {
    let listed = fs::read_to_string(root.join("dev/xtask/edges.txt")).unwrap_or_default();
    let mut allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in listed.lines().filter(|l| !l.starts_with('#')) {
        if let Some((room, below)) = line.split_once('=') {
            allowed.insert(room.trim(), below.split_whitespace().collect());
        }
    }
    for dir in ["crates", "dev"] {
        for entry in fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
            let room = entry.file_name().to_string_lossy().into_owned();
            let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
            let Some(below) = allowed.get(room.as_str()) else {
                faults.push(format!("{dir}/{room}: not in edges.txt"));
                continue;
            };
            for dep in dependencies(&manifest) {
                if allowed.contains_key(dep.as_str()) && !below.contains(&dep.as_str()) {
                    faults.push(format!("{dir}/{room}: edge to `{dep}` is not in edges.txt"));
                }
                if SYNCHRONOUS.contains(&room.as_str()) && ASYNC_CRATES.contains(&dep.as_str()) {
                    faults.push(format!("{dir}/{room}: the core is synchronous, yet it depends on {dep}"));
                }
            }
        }
    }
}

fn check_map(root: &Path, faults: &mut Vec<String>) {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    for entry in fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        let room = entry.file_name().to_string_lossy().into_owned();
        if !map.contains(&format!("`{room}`")) {
            faults.push(format!("ARCHITECTURE.md: room `{room}` is missing"));
        }
    }
}
