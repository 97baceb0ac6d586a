//! Start timestamps in OpenMetrics text: lines of `_created` series, which stand behind the series that they tell of.

use super::text::TextParser;
use super::{Entry, LabelBuf, ParseError, Series};
use model::{METRIC_NAME, MetricType};

const SUFFIX: &str = "_created";
/// What may stand behind the name of a family whose series have a start.
const SUFFIXES: [&str; 5] = ["", "_total", "_bucket", "_count", "_sum"];

/// The next `_created` line of a family.
#[derive(Debug)]
pub(super) struct Next {
    /// Place of the line, or of the first that is no series.
    until: usize,
    found: Option<Created>,
}

#[derive(Debug)]
struct Created {
    family: String,
    labels: Vec<(String, String)>,
    /// Milliseconds.
    start: i64,
}

fn has_start(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Summary | MetricType::Histogram)
}

/// Labels without the name and the bound of a bucket.
fn identity(labels: &LabelBuf, kind: MetricType) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(move |(name, _)| {
        let bound = (kind == MetricType::Summary && *name == "quantile")
            || (kind == MetricType::Histogram && *name == "le");
        *name != METRIC_NAME && !bound
    })
}

impl<'a> TextParser<'a> {
    /// [`TextParser::next_entry`] that leaves `_created` lines out and gives their values to the series before them.
    #[cold]
    pub(super) fn next_with_start(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            let entry = self.plain_entry()?;
            let Some(Entry::Series(mut series)) = entry else { return Ok(entry) };
            let mut labels = LabelBuf::default();
            // Whoever reads the labels sees the error.
            if !has_start(self.kind()) || series.labels(&mut labels).is_err() {
                return Ok(Some(Entry::Series(series)));
            }
            let name = labels.get(METRIC_NAME).unwrap_or_default();
            if !name.ends_with(SUFFIX) {
                series.start = self.start_of(name, &labels);
                return Ok(Some(Entry::Series(series)));
            }
        }
    }

    /// As upstream: that of the next `_created` line of the family, if it is about this series.
    fn start_of(&mut self, name: &str, labels: &LabelBuf) -> i64 {
        let kind = self.kind();
        let at = self.at();
        if self.next_created().as_ref().is_none_or(|next| next.until < at) {
            let next = self.look_ahead();
            *self.next_created() = Some(next);
        }
        let Some(Next { found: Some(created), .. }) = self.next_created() else { return 0 };
        let ours = name.strip_prefix(created.family.as_str()).is_some_and(|rest| SUFFIXES.contains(&rest))
            && created.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(identity(labels, kind));
        if ours { created.start } else { 0 }
    }

    fn look_ahead(&self) -> Next {
        let mut ahead = self.fork();
        let mut labels = LabelBuf::default();
        loop {
            let until = ahead.at();
            let Ok(Some(Entry::Series(series))) = ahead.plain_entry() else {
                return Next { until, found: None };
            };
            let found = created_line(&series, self.kind(), &mut labels);
            if found.is_some() {
                return Next { until, found };
            }
        }
    }
}

fn created_line(series: &Series<'_>, kind: MetricType, labels: &mut LabelBuf) -> Option<Created> {
    series.labels(labels).ok()?;
    let family = labels.get(METRIC_NAME)?.strip_suffix(SUFFIX)?.to_owned();
    let labels = identity(labels, kind).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Some(Created { family, labels, start: (series.value * 1000.0) as i64 })
}
