//! The key encoding of a label set: the bytes of `repeated Label labels = 1` in remote write 1.0.
//!
//! Per label: `0a <len>`, then inside that length `0a <len> name` and `12 <len> value`; lengths are protobuf
//! varints. Keys of sorted sets without empty values are canonical: equal sets, equal bytes. A sender's raw
//! bytes are usually canonical already, so they can be hashed as they came.

use model::Labels;

fn put_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

const fn varint_len(n: usize) -> usize {
    let bits = usize::BITS as usize - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends one label.
pub fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    push_label_bytes(out, name.as_bytes(), value.as_bytes());
}

/// [`push_label`] of texts that are known to be UTF-8.
pub fn push_label_bytes(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let inner = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
    out.push(0x0a);
    put_varint(out, inner);
    out.push(0x0a);
    put_varint(out, name.len());
    out.extend_from_slice(name);
    out.push(0x12);
    put_varint(out, value.len());
    out.extend_from_slice(value);
}

/// Appends a whole set; the result is canonical.
pub fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        push_label(out, name, value);
    }
}

/// The canonical key of a set.
pub fn of_labels(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::with_capacity(labels.packed().len() * 2);
    push_labels(&mut out, labels);
    out
}

/// What is wrong with the bytes of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("malformed label encoding")]
    Malformed,
    #[error("label is not valid UTF-8")]
    NotUtf8,
}

/// Iterates over the labels of a key in their order; any protobuf encoding of `Label` is accepted (fields in
/// any order, unknown fields skipped, missing ones empty).
pub fn iter(key: &[u8]) -> KeyIter<'_> {
    KeyIter { rest: key }
}

#[derive(Clone)]
pub struct KeyIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for KeyIter<'a> {
    type Item = Result<(&'a str, &'a str), KeyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let label = take_label(&mut self.rest);
        if label.is_none() {
            self.rest = &[];
        }
        Some(match label {
            None => Err(KeyError::Malformed),
            Some((name, value)) => match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                _ => Err(KeyError::NotUtf8),
            },
        })
    }
}

/// Reads a key that is encoded as [`push_label`] does it, byte for byte, and is ASCII, into `out` (cleared
/// first). `false` for any other key, which is no fault: [`iter`] reads those. Sorting is not looked at.
pub fn read_plain<'a>(key: &'a [u8], out: &mut Vec<(&'a str, &'a str)>) -> bool {
    out.clear();
    // All lengths are below 128 then, too, and one byte each.
    if !key.is_ascii() {
        return false;
    }
    let Ok(mut rest) = std::str::from_utf8(key) else { return false };
    while !rest.is_empty() {
        let Some((label, after)) = take_plain(rest, 0x0a) else { return false };
        let Some((name, value)) = take_plain(label, 0x0a) else { return false };
        let Some((value, "")) = take_plain(value, 0x12) else { return false };
        out.push((name, value));
        rest = after;
    }
    true
}

/// A field with a length of one byte, and what follows it.
fn take_plain(text: &str, tag: u8) -> Option<(&str, &str)> {
    let [got, len, ..] = text.as_bytes() else { return None };
    let end = 2 + usize::from(*len);
    (*got == tag).then_some((text.get(2..end)?, text.get(end..)?))
}

fn take_label<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    if tag != 0x0a {
        return None;
    }
    let mut inner = take_bytes(rest)?;
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while !inner.is_empty() {
        let tag = take_varint(&mut inner)?;
        match tag {
            0x0a => name = take_bytes(&mut inner)?,
            0x12 => value = take_bytes(&mut inner)?,
            _ => match tag & 7 {
                0 => drop(take_varint(&mut inner)?),
                1 => inner = inner.get(8..)?,
                2 => drop(take_bytes(&mut inner)?),
                5 => inner = inner.get(4..)?,
                _ => return None,
            },
        }
    }
    Some((name, value))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_varint(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let long = "v".repeat(300);
        let labels = Labels::from_pairs([("__name__", "up"), ("job", long.as_str())]);
        let key = of_labels(&labels);
        let back: Result<Vec<_>, _> = iter(&key).collect();
        assert_eq!(back.map(Labels::from_pairs), Ok(labels));
    }

    #[test]
    fn plain_keys_are_read_and_others_left() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let key = of_labels(&labels);
        let mut out = Vec::new();
        assert!(read_plain(&key, &mut out));
        assert_eq!(Labels::from_pairs(out.iter().copied()), labels);
        // Longer, not ASCII, in another order of fields, cut short, with something behind.
        for other in [
            of_labels(&Labels::from_pairs([("a", "v".repeat(130).as_str())])),
            of_labels(&Labels::from_pairs([("a", "ü")])),
            vec![0x0a, 6, 0x12, 1, b'v', 0x0a, 1, b'n'],
            vec![0x0a, 6, 0x0a, 1, b'n', 0x12, 1],
            vec![0x0a, 8, 0x0a, 1, b'n', 0x12, 1, b'v', 0x18, 1],
        ] {
            assert!(!read_plain(&other, &mut Vec::new()), "{other:?}");
        }
    }

    #[test]
    fn bad_bytes_are_refused() {
        assert_eq!(iter(&[0x0a, 0x05, 0x0a]).next(), Some(Err(KeyError::Malformed)));
        assert_eq!(iter(&[0x12]).next(), Some(Err(KeyError::Malformed)));
        assert_eq!(iter(&[0x0a, 0x03, 0x0a, 0x01, 0xff]).next(), Some(Err(KeyError::NotUtf8)));
    }
}
