//! Figures of the head for `/api/v1/status/tsdb`, and the ledger of memory.

use super::Head;
use storage::admin::{HeadStats, NameCount};

/// Where the bytes of the head are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    pub series: u64,
    /// Entries and their side tables.
    pub entries: usize,
    /// Pair ids of series.
    pub pairs: usize,
    /// Buffers of open chunks.
    pub chunks: usize,
    /// Interned texts and their tables.
    pub texts: usize,
    pub postings: usize,
    /// Hash to reference.
    pub table: usize,
}

/// The largest `limit` of a list, ties in order of their names.
fn top(mut list: Vec<NameCount>, limit: usize) -> Vec<NameCount> {
    list.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    list.truncate(limit);
    list
}

/// Bytes of a text with its length, as upstream keeps labels: what it shows as memory of a label.
fn encoded_len(text: &str) -> u64 {
    text.len() as u64 + if text.len() < 255 { 1 } else { 4 }
}

impl Head {
    pub(crate) fn stats(&self, limit: usize) -> HeadStats {
        let index = self.index.read();
        let texts = &index.texts;
        let count = |name: String, value: u64| NameCount { name, value };
        let mut stats = HeadStats { num_series: index.all.len(), ..HeadStats::default() };
        (stats.min_time, stats.max_time) = self.in_order_range();
        stats.chunk_count = self.metrics.chunks.get().max(0.0) as u64;
        let (mut metrics, mut values, mut memory, mut pairs) = (vec![], vec![], vec![], vec![]);
        for name in 0..texts.name_count() as u32 {
            let text = texts.name(name);
            let (mut live, mut bytes) = (0, 0);
            for pair in index.live_pairs(name) {
                let (value, series) = (texts.value(pair), index.of_pair(pair).len());
                live += 1;
                bytes += (encoded_len(text) + encoded_len(value)) * series;
                pairs.push((pair, series));
                if text == model::METRIC_NAME {
                    metrics.push(count(value.to_owned(), series));
                }
            }
            if live > 0 {
                stats.num_label_pairs += live;
                values.push(count(text.to_owned(), live));
                memory.push(count(text.to_owned(), bytes));
            }
        }
        // Texts only for the winners: there may be millions of pairs.
        pairs.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| texts.label(a.0).cmp(&texts.label(b.0))));
        pairs.truncate(limit);
        let named = pairs.into_iter().map(|(pair, series)| {
            let (name, value) = texts.label(pair);
            count(format!("{name}={value}"), series)
        });
        stats.series_by_label_pair = named.collect();
        stats.series_by_metric = top(metrics, limit);
        stats.label_values_by_label = top(values, limit);
        stats.memory_by_label = top(memory, limit);
        stats
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger { series: self.table.len(), table: self.table.bytes(), ..Ledger::default() };
        for page in self.table.pages().iter().flatten() {
            let (entries, pairs, chunks) = page.lock().bytes();
            ledger.entries += entries;
            ledger.pairs += pairs;
            ledger.chunks += chunks;
        }
        (ledger.texts, ledger.postings) = self.index.read().bytes();
        ledger
    }
}
