//! The text of a query's result, written piece by piece as it is sent; what has been written is let go of.

use crate::json::{Json, StepTexts};
use crate::stream::Source;
use bytes::Bytes;
use model::labels::quote;
use query::{Held, MatrixSeries, Points, QueryResult, QueryStats, SampleValue, Value, VectorSample};

/// A piece is handed over when it has so many bytes. Points are written whole.
const PIECE_BYTES: usize = 256 << 10;

/// What of the value is still to be written.
enum Rest {
    Matrix(std::vec::IntoIter<MatrixSeries>),
    Vector(std::vec::IntoIter<VectorSample>),
    Done,
}

/// A series in the middle of which a piece has ended.
struct Begun {
    series: MatrixSeries,
    part: Part,
    /// The next step or sample of the part.
    at: usize,
    /// The part's list has been opened.
    open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Floats,
    Histograms,
}

/// A result on its way out.
pub(crate) struct ResultText {
    json: Json,
    rest: Rest,
    begun: Option<Begun>,
    /// Nothing of the list has been written yet.
    first: bool,
    steps: StepTexts,
    /// What follows the value.
    end: String,
    ended: bool,
    /// The memory of what is still to be written.
    held: Option<Held>,
}

impl ResultText {
    /// `stats` is the parameter: none are written when it is empty.
    pub(crate) fn new(result: QueryResult, stats: &str) -> Self {
        let mut warnings = result.warnings;
        if !["", "true", "all"].contains(&stats) {
            warnings.push(format!(
                "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, \
                 use \"true\" or \"all\"",
                quote(stats)
            ));
        }
        let end = end_of(&result.stats, !stats.is_empty(), &warnings, &result.infos);
        let mut json = Json::with_capacity(1024);
        json.raw("{\"status\":\"success\",\"data\":{\"resultType\":\"").raw(result.value.type_name());
        json.raw("\",\"result\":[");
        let rest = match result.value {
            // Upstream prints these two through its general JSON writer.
            Value::Scalar(t, v) => {
                json.number(t as f64 / 1000.0).raw(",").text(&model::float::plain_string(v));
                Rest::Done
            }
            Value::String(t, text) => {
                json.number(t as f64 / 1000.0).raw(",").text(&text);
                Rest::Done
            }
            Value::Vector(samples) => Rest::Vector(samples.into_iter()),
            Value::Matrix(series) => Rest::Matrix(series.into_iter()),
        };
        ResultText {
            json,
            rest,
            begun: None,
            first: true,
            steps: StepTexts::default(),
            end,
            ended: false,
            // Clones of a result keep its memory until the last one is gone.
            held: result.held.and_then(std::sync::Arc::into_inner),
        }
    }

    /// Writes one series, or a part of a long one. False: there is none left.
    fn write_some(&mut self) -> bool {
        if let Some(mut begun) = self.begun.take() {
            if write_points(&mut self.json, &mut begun, &mut self.steps) {
                self.release(begun.series.bytes());
            } else {
                self.begun = Some(begun);
            }
            return true;
        }
        match &mut self.rest {
            Rest::Done => return false,
            Rest::Vector(samples) => match samples.next() {
                None => self.rest = Rest::Done,
                Some(sample) => {
                    self.json.comma(&mut self.first);
                    write_sample(&mut self.json, &sample);
                    self.release(sample.bytes());
                }
            },
            Rest::Matrix(list) => match list.next() {
                None => self.rest = Rest::Done,
                Some(series) => {
                    self.json.comma(&mut self.first).raw("{\"metric\":").labels(&series.labels);
                    self.begun = Some(Begun { series, part: Part::Floats, at: 0, open: false });
                }
            },
        }
        true
    }

    fn release(&mut self, bytes: usize) {
        if let Some(held) = &mut self.held {
            held.give_back(bytes);
        }
    }
}

impl Source for ResultText {
    fn piece(&mut self) -> Bytes {
        while self.json.len() < PIECE_BYTES {
            if !self.write_some() {
                self.json.raw("]").raw(&self.end);
                self.ended = true;
                self.held = None;
                return Bytes::from(self.json.take(0));
            }
        }
        Bytes::from(self.json.take(PIECE_BYTES + PIECE_BYTES / 8))
    }

    fn is_done(&self) -> bool {
        self.ended
    }
}

/// All that stands behind the list.
fn end_of(stats: &QueryStats, with_stats: bool, warnings: &[String], infos: &[String]) -> String {
    let mut json = Json::default();
    if with_stats {
        json.raw(",");
        write_stats(&mut json, stats);
    }
    json.raw("}").notes(warnings, infos).raw("}");
    // It was made of strings.
    String::from_utf8(json.into_bytes()).unwrap_or_default()
}

fn write_sample(json: &mut Json, sample: &VectorSample) {
    json.raw("{\"metric\":").labels(&sample.labels);
    match &sample.value {
        SampleValue::Float(v) => json.raw(",\"value\":").point(sample.t, *v),
        SampleValue::Histogram(h) => json.raw(",\"histogram\":").histogram_point(sample.t, h),
    };
    json.raw("}");
}

/// Writes points from where it was left, until a piece is full or the series is done, which is then true.
fn write_points(json: &mut Json, begun: &mut Begun, steps: &mut StepTexts) -> bool {
    let Begun { series, part, at, open } = begun;
    if *part == Part::Floats {
        match &series.points {
            Points::Grid { start, step, column } => {
                for (i, v) in column.floats_from(*at) {
                    begin(json, open, ",\"values\":[");
                    json.step_point(steps.of(*start, *step, i), v);
                    *at = i + 1;
                    if json.len() >= PIECE_BYTES {
                        return false;
                    }
                }
            }
            Points::Raw { floats, .. } => {
                for (t, v) in &floats[*at..] {
                    begin(json, open, ",\"values\":[");
                    json.point(*t, *v);
                    *at += 1;
                    if json.len() >= PIECE_BYTES {
                        return false;
                    }
                }
            }
        }
        if *open {
            json.raw("]");
        }
        (*part, *at, *open) = (Part::Histograms, 0, false);
    }
    for (t, h) in series.points.histograms().skip(*at) {
        begin(json, open, ",\"histograms\":[");
        json.histogram_point(t, h);
        *at += 1;
        if json.len() >= PIECE_BYTES {
            return false;
        }
    }
    json.raw(if *open { "]}" } else { "}" });
    true
}

/// What stands before the next element of a list that may not have been opened.
#[inline]
fn begin(json: &mut Json, open: &mut bool, opening: &str) {
    json.raw(if std::mem::replace(open, true) { "," } else { opening });
}

pub(crate) fn write_stats(json: &mut Json, stats: &QueryStats) {
    let t = &stats.timings;
    let times = [
        ("evalTotalTime", t.eval_total),
        ("resultSortTime", t.result_sort),
        ("queryPreparationTime", t.query_preparation),
        ("innerEvalTime", t.inner_eval),
        ("execQueueTime", t.exec_queue),
        ("execTotalTime", t.exec_total),
    ];
    json.raw("\"stats\":{\"timings\":{");
    let mut first = true;
    for (name, time) in times {
        json.comma(&mut first).key(name).number(time.as_secs_f64());
    }
    json.raw("},\"samples\":{");
    let s = &stats.samples;
    write_steps(json, "totalQueryableSamplesPerStep", s.total_queryable_samples_per_step.as_deref());
    json.raw("\"totalQueryableSamples\":").int(s.total_queryable_samples).raw(",");
    write_steps(json, "samplesReadPerStep", s.samples_read_per_step.as_deref());
    json.raw("\"samplesRead\":").int(s.samples_read);
    json.raw(",\"peakSamples\":").uint(s.peak_samples as u64).raw("}}");
}

fn write_steps(json: &mut Json, key: &str, steps: Option<&[(i64, i64)]>) {
    let Some(steps) = steps.filter(|s| !s.is_empty()) else { return };
    json.key(key).raw("[");
    let mut first = true;
    for (t, n) in steps {
        json.comma(&mut first).raw("[").number(*t as f64 / 1000.0).raw(",").int(*n).raw("]");
    }
    json.raw("],");
}
