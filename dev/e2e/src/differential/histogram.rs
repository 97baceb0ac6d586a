//! Native histograms as remote write 2.0 messages, written from the specification.

use crate::push::{field, varint};

/// Buckets of one side: first index and counts, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Side {
    pub offset: i32,
    pub counts: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// -53 has custom bounds.
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub sum: f64,
    pub positive: Side,
    pub negative: Side,
    pub bounds: Vec<f64>,
    /// A gauge does not reset.
    pub gauge: bool,
    /// Send the form with integer deltas; the counts are whole numbers then.
    pub integer: bool,
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn double(out: &mut Vec<u8>, tag: u8, value: f64) {
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

fn number(out: &mut Vec<u8>, tag: u8, n: u64) {
    out.push(tag);
    varint(out, n);
}

fn doubles(out: &mut Vec<u8>, tag: u8, values: &[f64]) {
    let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    field(out, tag, &packed);
}

impl Histogram {
    pub fn count(&self) -> f64 {
        self.zero_count + self.positive.counts.iter().sum::<f64>() + self.negative.counts.iter().sum::<f64>()
    }

    /// The message `Histogram` at `t` ms.
    pub fn encode(&self, t: i64) -> Vec<u8> {
        let mut out = Vec::new();
        if self.integer {
            number(&mut out, 0x08, self.count() as u64);
        } else {
            double(&mut out, 0x11, self.count());
        }
        double(&mut out, 0x19, self.sum);
        number(&mut out, 0x20, zigzag(self.schema.into()));
        double(&mut out, 0x29, self.zero_threshold);
        if self.integer {
            number(&mut out, 0x30, self.zero_count as u64);
        } else {
            double(&mut out, 0x39, self.zero_count);
        }
        self.side(&mut out, &self.negative, [0x42, 0x4a, 0x52]);
        self.side(&mut out, &self.positive, [0x5a, 0x62, 0x6a]);
        if self.gauge {
            number(&mut out, 0x70, 3);
        }
        number(&mut out, 0x78, t as u64);
        if !self.bounds.is_empty() {
            // Field 16 needs a tag of two bytes.
            out.push(0x82);
            doubles(&mut out, 0x01, &self.bounds);
        }
        out
    }

    fn side(&self, out: &mut Vec<u8>, side: &Side, [spans, deltas, counts]: [u8; 3]) {
        if side.counts.is_empty() {
            return;
        }
        let mut span = Vec::new();
        number(&mut span, 0x08, zigzag(side.offset.into()));
        number(&mut span, 0x10, side.counts.len() as u64);
        field(out, spans, &span);
        if self.integer {
            let (mut packed, mut last) = (Vec::new(), 0);
            for count in &side.counts {
                varint(&mut packed, zigzag(*count as i64 - last));
                last = *count as i64;
            }
            field(out, deltas, &packed);
        } else {
            doubles(out, counts, &side.counts);
        }
    }
}
