//! Batches: rows that are already encoded as they will be sent, and where each of them ends.
//!
//! Room: `remote::write`. Immutable once sealed but for rows that are struck out, so a batch can be sent again,
//! in parts, or in the older protocol.

use super::series::{Pairs, Sent, Symbols};
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{FloatHistogram, Labels, Metadata};
use std::ops::Range;
use std::sync::Arc;
use storage::feed::FeedExemplar;
use wire::proto::ProtoError;
use wire::remote_write::{BadRow, Counts, Key, MessageType, Scratch, SeriesMetadata, Sink, v1, v2};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sample,
    Histogram,
    Exemplar,
    /// Struck out: not sent any more.
    Void,
}

/// A row: one series with one sample, histogram or exemplar; in 2.0 a sample's exemplars stand with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Where its bytes end, counted from the first row.
    pub(super) end: u32,
    pub(super) kind: Kind,
    /// Exemplars that the row carries besides.
    pub(super) exemplars: u16,
    /// Milliseconds.
    pub(super) t: i64,
}

/// Rows by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Rows {
    pub(super) fn all(self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }

    fn count(&mut self, item: &Item) {
        match item.kind {
            Kind::Sample => self.samples += 1,
            Kind::Histogram => self.histograms += 1,
            Kind::Exemplar => self.exemplars += 1,
            Kind::Void => return,
        }
        self.exemplars += u64::from(item.exemplars);
    }
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) message: MessageType,
    body: Vec<u8>,
    /// Bytes of symbols before the first row.
    head: usize,
    pub(super) items: Vec<Item>,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    pub(super) fn rows(&self, range: Range<usize>) -> Rows {
        let mut rows = Rows::default();
        self.items[range].iter().for_each(|item| rows.count(item));
        rows
    }

    /// Latest time in a range, milliseconds.
    pub(super) fn newest(&self, range: Range<usize>) -> Option<i64> {
        self.items[range].iter().filter(|i| i.kind != Kind::Void).map(|i| i.t).max()
    }

    /// Strikes out rows of a range that are older than `oldest`; what was struck.
    pub(super) fn strike(&mut self, range: Range<usize>, oldest: i64) -> Rows {
        let mut struck = Rows::default();
        for item in &mut self.items[range] {
            if item.t < oldest {
                struck.count(item);
                item.kind = Kind::Void;
            }
        }
        struck
    }

    /// Writes the message of a range of rows, without those struck out.
    pub(super) fn write(&self, range: Range<usize>, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.body[..self.head]);
        let rows = &self.body[self.head..];
        let start = |at: usize| if at == 0 { 0 } else { self.items[at - 1].end as usize };
        let mut at = range.start;
        while at < range.end {
            if self.items[at].kind == Kind::Void {
                at += 1;
                continue;
            }
            let from = at;
            while at < range.end && self.items[at].kind != Kind::Void {
                at += 1;
            }
            out.extend_from_slice(&rows[start(from)..start(at)]);
        }
    }

    /// The same rows in remote write 1.0, and how many histograms it cannot carry (they are struck out).
    /// Metadata of series stays behind: 1.0 sends it apart.
    pub(super) fn to_v1(&self) -> Result<(Batch, u64), ProtoError> {
        if self.message == MessageType::V1 {
            let (body, items) = (self.body.clone(), self.items.clone());
            return Ok((Batch { message: MessageType::V1, body, head: self.head, items }, 0));
        }
        let mut scratch = Scratch::new();
        let mut rows = Transcode::default();
        v2::decode(&self.body, &mut scratch, &mut rows)?;
        let (mut body, mut items, mut unsendable) = (Vec::with_capacity(2 * self.body.len()), Vec::new(), 0);
        for (mut item, (key, told)) in self.items.iter().copied().zip(rows.done) {
            let key = scratch.bytes(&key);
            for row in told {
                match row {
                    Row::Sample(t, v) => v1::push_samples(&mut body, key, &[model::Sample { t, v }]),
                    Row::Histogram(_, h) if h.schema == CUSTOM_BUCKETS_SCHEMA => {
                        unsendable += u64::from(item.kind != Kind::Void);
                        item.kind = Kind::Void;
                    }
                    Row::Histogram(t, h) => v1::push_histogram(&mut body, key, t, &h),
                    Row::Exemplar(labels, t, v) => {
                        let labels = scratch.bytes(&labels);
                        v1::push_exemplar(&mut body, key, v1::ExemplarRow { labels, t, v });
                    }
                }
            }
            item.end = body.len() as u32;
            items.push(item);
        }
        Ok((Batch { message: MessageType::V1, body, head: 0, items }, unsendable))
    }
}

#[derive(Debug)]
enum Row {
    Sample(i64, f64),
    Histogram(i64, FloatHistogram),
    Exemplar(Range<u32>, i64, f64),
}

/// Reads our own 2.0 messages back; keys lie in the arena.
#[derive(Default)]
struct Transcode {
    open: Vec<Row>,
    done: Vec<(Range<u32>, Vec<Row>)>,
}

impl<'a> Sink<'a> for Transcode {
    fn sample(&mut self, t: i64, v: f64, _: i64) {
        self.open.push(Row::Sample(t, v));
    }
    fn histogram(&mut self, t: i64, histogram: Arc<FloatHistogram>, _: i64) {
        self.open.push(Row::Histogram(t, Arc::unwrap_or_clone(histogram)));
    }
    fn exemplar(&mut self, labels: Key<'a>, t: i64, v: f64) {
        if let Key::Arena(labels) = labels {
            self.open.push(Row::Exemplar(labels, t, v));
        }
    }
    fn series(&mut self, key: Key<'a>, _: Counts, _: Option<SeriesMetadata<'a>>) {
        if let Key::Arena(key) = key {
            self.done.push((key, std::mem::take(&mut self.open)));
        }
    }
    fn bad_series(&mut self, _: Counts, _: BadRow) {}
    fn bad_exemplar(&mut self, _: BadRow) {}
    fn metadata(&mut self, _: &'a str, _: model::MetricType, _: &'a str, _: &'a str) {}
    fn bad_metadata(&mut self) {}
}

/// What a row says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    /// Value and start timestamp, 0 for none.
    Sample(f64, i64),
    /// With its start timestamp.
    Histogram(&'a FloatHistogram, i64),
    Exemplar(f64, &'a Labels),
}

impl Told<'_> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Told::Sample(..) => Kind::Sample,
            Told::Histogram(..) => Kind::Histogram,
            Told::Exemplar(..) => Kind::Exemplar,
        }
    }
}

/// A batch that is being filled.
#[derive(Default)]
pub(super) struct Open {
    message: MessageType,
    body: Vec<u8>,
    items: Vec<Item>,
    encoder: v2::Encoder,
    symbols: Symbols,
    refs: Vec<u32>,
    key: Vec<u8>,
    exemplar: Vec<u8>,
}

impl Open {
    pub(super) fn new(message: MessageType) -> Self {
        Open { message, ..Open::default() }
    }

    pub(super) fn message(&self) -> MessageType {
        self.message
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the message so far, about.
    pub(super) fn bytes(&self) -> usize {
        match self.message {
            MessageType::V1 => self.body.len(),
            MessageType::V2 => self.encoder.len() + self.symbols.bytes(),
        }
    }

    /// Adds a row; `with`: exemplars that stand with it, in 2.0 only.
    pub(super) fn push(
        &mut self,
        pairs: &Pairs,
        series: &Sent,
        metadata: &Metadata,
        t: i64,
        row: Told<'_>,
        with: &[&FeedExemplar],
    ) {
        let with = with.get(..usize::from(u16::MAX)).unwrap_or(with);
        let (end, exemplars) = match self.message {
            MessageType::V1 => (self.push_v1(pairs, series, t, row), 0),
            MessageType::V2 => (self.push_v2(pairs, series, metadata, t, row, with), with.len() as u16),
        };
        self.items.push(Item { end: end as u32, kind: row.kind(), exemplars, t });
    }

    fn push_v1(&mut self, pairs: &Pairs, series: &Sent, t: i64, row: Told<'_>) -> usize {
        if let Told::Sample(v, _) = row {
            let key = series.pairs.iter().map(|&id| pairs.bytes(id));
            v1::push_sample_of(&mut self.body, series.key_len as usize, key, t, v);
            return self.body.len();
        }
        self.key.clear();
        series.pairs.iter().for_each(|&id| self.key.extend_from_slice(pairs.bytes(id)));
        match row {
            Told::Sample(..) => {}
            Told::Histogram(h, _) => v1::push_histogram(&mut self.body, &self.key, t, h),
            Told::Exemplar(v, labels) => {
                self.exemplar.clear();
                storage::key::push_labels(&mut self.exemplar, labels);
                let row = v1::ExemplarRow { labels: &self.exemplar, t, v };
                v1::push_exemplar(&mut self.body, &self.key, row);
            }
        }
        self.body.len()
    }

    fn push_v2(
        &mut self,
        pairs: &Pairs,
        series: &Sent,
        metadata: &Metadata,
        t: i64,
        row: Told<'_>,
        with: &[&FeedExemplar],
    ) -> usize {
        self.refs.clear();
        for &id in &series.pairs {
            let (name, value) = self.symbols.pair(pairs, id);
            self.refs.extend([name, value]);
        }
        let metadata = v2::metadata_refs(metadata, |text| self.symbols.add(text.as_bytes()));
        let first = match row {
            Told::Sample(v, start) => v2::Row::Sample { t, start, v },
            Told::Histogram(histogram, start) => v2::Row::Histogram { t, start, histogram },
            Told::Exemplar(v, labels) => {
                let refs = exemplar_refs(&mut self.symbols, labels);
                self.encoder.push(&self.refs, metadata, &[v2::Row::Exemplar { t, v, refs: &refs }]);
                return self.encoder.len();
            }
        };
        if with.is_empty() {
            self.encoder.push(&self.refs, metadata, &[first]);
            return self.encoder.len();
        }
        let refs: Vec<Vec<u32>> = with.iter().map(|e| exemplar_refs(&mut self.symbols, &e.labels)).collect();
        let mut rows = vec![first];
        rows.extend(with.iter().zip(&refs).map(|(e, refs)| v2::Row::Exemplar { t: e.t, v: e.v, refs }));
        self.encoder.push(&self.refs, metadata, &rows);
        self.encoder.len()
    }

    /// Gives the batch and starts over.
    pub(super) fn seal(&mut self) -> Batch {
        let items = std::mem::take(&mut self.items);
        match self.message {
            MessageType::V1 => {
                let next = Vec::with_capacity(self.body.len());
                let body = std::mem::replace(&mut self.body, next);
                Batch { message: MessageType::V1, body, head: 0, items }
            }
            MessageType::V2 => {
                let rows = self.encoder.len();
                let mut body = Vec::with_capacity(rows + self.symbols.bytes() + 64);
                self.encoder.finish(self.symbols.iter(), &mut body);
                self.symbols.clear();
                let head = body.len() - rows;
                Batch { message: MessageType::V2, body, head, items }
            }
        }
    }
}

fn exemplar_refs(symbols: &mut Symbols, labels: &Labels) -> Vec<u32> {
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    texts.map(|text| symbols.add(text.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::series::{Found, Table};
    use super::*;
    use storage::SeriesRef;

    fn filled(message: MessageType) -> Batch {
        let mut table = Table::new(Arc::from([]), Labels::from_pairs([("cluster", "x")]));
        let mut open = Open::new(message);
        for i in 0..10u64 {
            let name = format!("m{i}");
            table.learn(SeriesRef(i), &Labels::from_pairs([("__name__", name.as_str())]));
            let Found::Sent(sent) = table.find(SeriesRef(i)) else { panic!("dropped") };
            let exemplar = Labels::from_pairs([("trace_id", "1")]);
            let row = if i == 9 { Told::Exemplar(0.5, &exemplar) } else { Told::Sample(i as f64, 0) };
            let with =
                FeedExemplar { series: SeriesRef(i), t: 1000 + i as i64, v: 0.1, labels: exemplar.clone() };
            let with = [&with];
            let with = if message == MessageType::V2 && i == 8 { &with[..] } else { &[] };
            open.push(&table.pairs, sent, &Metadata::default(), 1000 + i as i64, row, with);
        }
        open.seal()
    }

    /// Names and times of a 1.0 message.
    #[derive(Default)]
    struct Seen(Vec<(String, i64)>, i64);
    impl<'a> Sink<'a> for Seen {
        fn sample(&mut self, t: i64, _: f64, _: i64) {
            self.1 = t;
        }
        fn histogram(&mut self, _: i64, _: Arc<FloatHistogram>, _: i64) {}
        fn exemplar(&mut self, _: Key<'a>, t: i64, _: f64) {
            self.1 = t;
        }
        fn series(&mut self, key: Key<'a>, _: Counts, _: Option<SeriesMetadata<'a>>) {
            let Key::Body(key) = key else { panic!("in one piece") };
            let set = Labels::from_pairs(storage::key::iter(key).map(|l| l.expect("key")));
            assert_eq!(set.value("cluster"), "x");
            self.0.push((set.metric_name().to_owned(), self.1));
        }
        fn bad_series(&mut self, _: Counts, _: BadRow) {}
        fn bad_exemplar(&mut self, _: BadRow) {}
        fn metadata(&mut self, _: &'a str, _: model::MetricType, _: &'a str, _: &'a str) {}
        fn bad_metadata(&mut self) {}
    }

    fn read(batch: &Batch, range: Range<usize>) -> Vec<(String, i64)> {
        let (mut out, mut seen) = (Vec::new(), Seen::default());
        batch.write(range, &mut out);
        v1::decode(&out, &mut Scratch::new(), &mut seen).unwrap();
        seen.0
    }

    #[test]
    fn parts_hold_their_rows() {
        for message in MessageType::ALL {
            let mut batch = filled(message).to_v1().unwrap().0;
            let names: Vec<String> = read(&batch, 3..6).into_iter().map(|(n, _)| n).collect();
            assert_eq!(names, ["m3", "m4", "m5"]);
            let more = u64::from(message == MessageType::V2);
            assert_eq!(batch.rows(0..10), Rows { samples: 9, histograms: 0, exemplars: 1 + more });
            assert_eq!(batch.strike(0..10, 1002), Rows { samples: 2, histograms: 0, exemplars: 0 });
            assert_eq!(batch.strike(0..10, 1002).all(), 0);
            let whole = read(&batch, 0..10);
            assert_eq!((whole.len() as u64, whole[0].clone()), (8 + more, ("m2".to_owned(), 1002)));
            assert_eq!(
                (whole[whole.len() - 1].clone(), batch.newest(0..10)),
                (("m9".to_owned(), 1009), Some(1009))
            );
        }
    }

    #[test]
    fn custom_buckets_stay_behind() {
        let mut table = Table::new(Arc::from([]), Labels::empty());
        table.learn(SeriesRef(1), &Labels::from_pairs([("__name__", "h")]));
        let Found::Sent(sent) = table.find(SeriesRef(1)) else { panic!("dropped") };
        let mut open = Open::new(MessageType::V2);
        for schema in [3, CUSTOM_BUCKETS_SCHEMA] {
            let h = FloatHistogram { schema, ..FloatHistogram::default() };
            open.push(&table.pairs, sent, &Metadata::default(), 5, Told::Histogram(&h, 0), &[]);
        }
        let (batch, unsendable) = open.seal().to_v1().unwrap();
        assert_eq!((batch.rows(0..2).histograms, unsendable), (1, 1));
    }
}
