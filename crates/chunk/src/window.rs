//! Re-encoding of closed XOR chunks with the best choice of windows.
//!
//! The format lets an encoder decide when to open a new window of significant bits and how wide. An appender
//! must decide value by value; with all values at hand a small dynamic programme finds the cheapest cut into
//! runs that share one window. Every Prometheus reads the result.

use crate::bits::BitWriter;
use crate::encoding::ChunkError;
use crate::varint;
use crate::xor;

/// A run of changed values is looked at over at most this many; longer ones are joined afterwards.
const LOOK_BACK: usize = 16;
/// Bits that opening a window costs beyond using the current one.
const OPEN_BITS: u32 = 11;

/// Working memory, reused between chunks.
#[derive(Debug, Default)]
pub struct Reencoder {
    times: Vec<i64>,
    values: Vec<f64>,
    /// Leading and trailing zeros of each change.
    changes: Vec<(u8, u8)>,
    /// Cheapest cost of the first n changes, and where the last run of them starts.
    best: Vec<(u32, u32)>,
    windows: Vec<(u8, u8)>,
}

impl Reencoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same samples in the fewest bits that the windows allow; `None` when the chunk cannot be made
    /// shorter.
    pub fn shrink(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, ChunkError> {
        self.times.clear();
        self.values.clear();
        xor::decode(data, &mut self.times, &mut self.values)?;
        let (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        let out = self.encode(&times, &values);
        (self.times, self.values) = (times, values);
        Ok(if out.len() < data.len() { Some(out) } else { None })
    }

    /// Encodes samples (at most 65,535) as one XOR chunk with the best windows.
    pub fn encode(&mut self, times: &[i64], values: &[f64]) -> Vec<u8> {
        debug_assert!(times.len() == values.len() && times.len() <= usize::from(u16::MAX));
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&(times.len() as u16).to_be_bytes());
        let ([first_t, ..], [first_v, ..]) = (times, values) else { return out };
        varint::put_i64(&mut out, *first_t);
        out.extend_from_slice(&first_v.to_bits().to_be_bytes());
        self.choose(values);
        let mut bits = BitWriter::after(out);
        let mut windows = self.windows.iter();
        let mut open = None;
        let mut delta = 0u64;
        for (i, (pair_t, pair_v)) in times.windows(2).zip(values.windows(2)).enumerate() {
            let now = pair_t[1].wrapping_sub(pair_t[0]) as u64;
            if i == 0 {
                let mut bytes = Vec::with_capacity(varint::MAX_LEN);
                varint::put_u64(&mut bytes, now);
                for byte in bytes {
                    bits.put(u64::from(byte), 8);
                }
            } else {
                put_dod(&mut bits, now.wrapping_sub(delta) as i64);
            }
            delta = now;
            let change = pair_v[1].to_bits() ^ pair_v[0].to_bits();
            if change == 0 {
                bits.put(0, 1);
                continue;
            }
            let Some(&(leading, trailing)) = windows.next() else { break };
            let width = 64 - u32::from(leading) - u32::from(trailing);
            let (control, control_bits) = if open == Some((leading, trailing)) {
                (0b10, 2)
            } else {
                open = Some((leading, trailing));
                (0b11 << 11 | u64::from(leading) << 6 | u64::from(width) & 63, 13)
            };
            if control_bits + width <= 64 {
                bits.put(control << width | change >> trailing, control_bits + width);
            } else {
                bits.put(control, control_bits);
                bits.put(change >> trailing, width);
            }
        }
        bits.into_data()
    }

    /// Fills `windows` with the window of each change.
    fn choose(&mut self, values: &[f64]) {
        self.changes.clear();
        for pair in values.windows(2) {
            let change = pair[0].to_bits() ^ pair[1].to_bits();
            if change != 0 {
                self.changes.push(((change.leading_zeros() as u8).min(31), change.trailing_zeros() as u8));
            }
        }
        self.best.clear();
        self.best.push((0, 0));
        for end in 1..=self.changes.len() {
            let from = end.saturating_sub(LOOK_BACK);
            let (mut lead, mut trail) = (u32::MAX, u32::MAX);
            let mut best = (u32::MAX, 0);
            // Width of the run before it last grew, and how long it was then.
            let (mut narrow, mut narrow_len, mut before) = (0, 0, 0);
            let starts = self.changes[from..end].iter().zip(&self.best[from..end]).rev();
            for (len, (change, cheapest)) in (1..).zip(starts) {
                lead = lead.min(u32::from(change.0));
                trail = trail.min(u32::from(change.1));
                let width = 64 - lead - trail;
                if width > before {
                    (narrow, narrow_len) = (before, len - 1);
                    before = width;
                }
                // Opening a window for the narrow end of the run is cheaper already, and stays so.
                if narrow_len * (width - narrow) >= OPEN_BITS && narrow_len > 0 {
                    break;
                }
                let cost = cheapest.0 + OPEN_BITS + len * (2 + width);
                if cost < best.0 {
                    best = (cost, end as u32 - len);
                }
            }
            self.best.push(best);
        }
        self.windows.clear();
        self.windows.resize(self.changes.len(), (0, 0));
        let mut end = self.changes.len();
        while end > 0 {
            let start = self.best[end].1 as usize;
            let run = &self.changes[start..end];
            let window = run.iter().fold((31, 64), |w, c| (w.0.min(c.0), w.1.min(c.1)));
            self.windows[start..end].fill(window);
            end = start;
        }
        self.join();
    }

    /// Runs that fit the window before them and are cheaper that way use it.
    fn join(&mut self) {
        let mut start = 0;
        let mut before: Option<(u8, u8)> = None;
        while start < self.windows.len() {
            let own = self.windows[start];
            let len = self.windows[start..].iter().take_while(|w| **w == own).count();
            if let Some(open) = before
                && open.0 <= own.0
                && open.1 <= own.1
                && len as u32 * u32::from(own.0 + own.1 - open.0 - open.1) < OPEN_BITS
            {
                self.windows[start..start + len].fill(open);
            } else {
                before = Some(own);
            }
            start += len;
        }
    }
}

fn put_dod(bits: &mut BitWriter, dod: i64) {
    match dod {
        0 => bits.put(0, 1),
        -8191..=8192 => bits.put(0b10 << 14 | dod as u64 & 0x3fff, 16),
        -65535..=65536 => bits.put(0b110 << 17 | dod as u64 & 0x1_ffff, 20),
        -524_287..=524_288 => bits.put(0b1110 << 20 | dod as u64 & 0xf_ffff, 24),
        _ => {
            bits.put(0b1111, 4);
            bits.put(dod as u64, 64);
        }
    }
}
