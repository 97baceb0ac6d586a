//! A data directory of which one file is made of the fuzzer's bytes: opened, read through, written on, closed.
//!
//! Checksums are put right, or nothing would ever be read behind one. A first byte of 0 gives the bytes as they are.

// Each target uses a part of it.
#![allow(dead_code)]

use disk::crc::crc32c;
use model::{Matcher, Sample, TimeRange};
use std::path::Path;
use std::sync::OnceLock;
use storage::admin::Admin;
use storage::{
    Batch, BatchSeries, Queryable, SelectHints, SeriesId, WriteOutcome, WriterSource, key,
};
use testkit::{FaultyDisk, Loss};
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

const DIR: &str = "/data";
const HOUR: i64 = 3_600_000;
const START: i64 = 1_700_000_000_000 / HOUR * HOUR;

fn options(snapshot: bool) -> Options {
    let running = Running { out_of_order_window_ms: 9 * HOUR, floats_xor2: true, ..Running::default() };
    Options {
        no_lockfile: true,
        wal_sync_inline: true,
        store_starts: true,
        histogram_starts: true,
        samples_per_chunk: 8,
        head_snapshot: snapshot,
        running,
        ..Options::default()
    }
}

fn open(disk: &FaultyDisk, snapshot: bool) -> Option<Db> {
    let (registry, replay) = (meter::Registry::new(), ReplayHandle::default());
    Db::open(disk.shared(), Path::new(DIR), options(snapshot), &registry, replay).ok()
}

fn write(db: &Db, t: i64) {
    let keys: Vec<Vec<u8>> = ["a", "b", "c"]
        .map(|name| {
            let mut key = Vec::new();
            key::push_label(&mut key, "__name__", name);
            key
        })
        .to_vec();
    let mut batch = Batch::default();
    for key in &keys {
        let at = batch.samples.len() as u32;
        batch.samples.push(Sample { t, v: t as f64 });
        let id = SeriesId::Key(key);
        batch.series.push(BatchSeries { id, samples: at..at + 1, histograms: 0..0, exemplars: 0..0 });
    }
    let _ = db.writer().write(&batch, &mut WriteOutcome::default());
}

/// Three series with full chunks, late samples, blocks and a snapshot of the head.
fn base() -> &'static FaultyDisk {
    static BASE: OnceLock<FaultyDisk> = OnceLock::new();
    BASE.get_or_init(|| {
        let disk = FaultyDisk::new(1);
        let db = open(&disk, true).expect("a new directory opens");
        for minute in 0..300 {
            write(&db, START + minute * 60_000);
            if minute % 9 == 8 {
                write(&db, START + minute * 60_000 - 200_500);
            }
        }
        db.maintain(None).expect("maintains");
        db.close().expect("closes");
        disk
    })
}

/// The first file of a folder of the base whose path has all parts.
fn find(disk: &FaultyDisk, folder: &str, name: &str) -> std::path::PathBuf {
    let shared = disk.shared();
    let mut folders = shared.list(Path::new(DIR)).expect("lists");
    folders.retain(|entry| entry.is_dir && entry.name.starts_with(folder));
    let folder = Path::new(DIR).join(&folders.first().expect("is there").name);
    folder.join(name)
}

fn put(disk: &FaultyDisk, path: &Path, bytes: Vec<u8>) {
    let shared = disk.shared();
    disk::atomic::write(&*shared, path, &bytes).expect("written");
}

/// Opens a copy of the base with one file replaced, and does with it what a server does.
pub fn exercise(folder: &str, name: &str, snapshot: bool, bytes: Vec<u8>) {
    let disk = base().reboot(Loss::Kill);
    let path = find(&disk, folder, name);
    put(&disk, &path, bytes);
    let Some(db) = open(&disk, snapshot) else { return };
    let read = || {
        let querier = db.querier(TimeRange::ALL).expect("opens");
        let Ok(mut set) = querier.select(&[], &SelectHints::default()) else { return };
        while let Ok(Some(series)) = set.next() {
            let _ = read_all(&*series);
            let _ = series.chunks(TimeRange::ALL);
        }
    };
    read();
    write(&db, START + 9 * HOUR);
    let _ = db.delete_series(TimeRange::new(START, START + HOUR), &[vec![Matcher::equal("__name__", "b")]]);
    let _ = db.maintain(None);
    read();
    let _ = db.clean_tombstones();
    let _ = db.close();
}

/// Takes pieces of bytes with a length before each.
pub fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_at_checked(2)?;
        let len = usize::from(u16::from_le_bytes([len[0], len[1]]) % 2048).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        data = rest;
        Some(piece)
    })
}

/// Records as a log frames them; what does not fit into a page is left out.
pub fn log(data: &[u8]) -> Vec<u8> {
    const PAGE: usize = 32 << 10;
    let mut out = Vec::new();
    for record in pieces(data) {
        if out.len() % PAGE + 7 + record.len() > PAGE {
            break;
        }
        out.push(1);
        out.extend_from_slice(&(record.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c(record).to_be_bytes());
        out.extend_from_slice(record);
    }
    out
}
