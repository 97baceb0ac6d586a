//! Replies whose data is a list, written element by element while they are sent; what has been written is let go of.

use crate::json::Json;
use crate::stream::Source;
use bytes::Bytes;

/// A piece is handed over when it has so many bytes. Elements are written whole.
const PIECE_BYTES: usize = 256 << 10;

/// Writes the next element, without what stands between two of them; false when there is none left.
pub(crate) type Rows = Box<dyn FnMut(&mut Json) -> bool + Send>;

/// The elements of a list, each of them dropped when it has been written.
pub(crate) fn rows<T: Send + 'static>(list: Vec<T>, write: fn(&mut Json, &T)) -> Rows {
    let mut list = list.into_iter();
    Box::new(move |json| {
        let next = list.next();
        if let Some(one) = &next {
            write(json, one);
        }
        next.is_some()
    })
}

/// A list on its way out.
pub(crate) struct ListText {
    json: Json,
    rows: Rows,
    /// What follows the list.
    end: String,
    /// No element has been written yet.
    first: bool,
    ended: bool,
}

impl ListText {
    pub(crate) fn new(rows: Rows, warnings: &[String], infos: &[String]) -> Self {
        let mut json = Json::with_capacity(1024);
        json.raw("{\"status\":\"success\",\"data\":[");
        let mut end = Json::default();
        end.raw("]").notes(warnings, infos).raw("}");
        // It was made of strings.
        let end = String::from_utf8(end.into_bytes()).unwrap_or_default();
        ListText { json, rows, end, first: true, ended: false }
    }
}

impl Source for ListText {
    fn piece(&mut self) -> Bytes {
        while self.json.len() < PIECE_BYTES {
            let before = self.json.len();
            if !self.first {
                self.json.raw(",");
            }
            if !(self.rows)(&mut self.json) {
                self.json.truncate(before);
                self.json.raw(&self.end);
                self.ended = true;
                return Bytes::from(self.json.take(0));
            }
            self.first = false;
        }
        Bytes::from(self.json.take(PIECE_BYTES + PIECE_BYTES / 8))
    }

    fn is_done(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(list: Vec<String>, warnings: &[String]) -> (String, usize) {
        let write = |json: &mut Json, text: &String| {
            json.text(text);
        };
        let mut source = ListText::new(rows(list, write), warnings, &[]);
        let (mut all, mut pieces) = (Vec::new(), 0);
        while !source.is_done() {
            all.extend_from_slice(&source.piece());
            pieces += 1;
        }
        (String::from_utf8(all).expect("text"), pieces)
    }

    #[test]
    fn lists_are_written_in_pieces() {
        assert_eq!(text(Vec::new(), &[]), (r#"{"status":"success","data":[]}"#.into(), 1));
        let some = vec!["a".into(), "b".into()];
        let want = r#"{"status":"success","data":["a","b"],"warnings":["w"]}"#;
        assert_eq!(text(some, &["w".into()]), (want.into(), 1));
        let many: Vec<String> = (0..10_000).map(|n| format!("{n:0100}")).collect();
        let (all, pieces) = text(many.clone(), &[]);
        assert_eq!(all, format!(r#"{{"status":"success","data":["{}"]}}"#, many.join("\",\"")));
        assert!((4..6).contains(&pieces), "{pieces}");
    }
}
