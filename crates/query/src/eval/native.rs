//! Native histograms in expressions.

use super::element::Element;
use super::{Eval, Grid, Out, RangeBuf, Sink};
use crate::QueryError;
use crate::annotation::Annotations;
use crate::column::Column;
use crate::plan::CallNode;
use model::{FloatHistogram, Labels};
use promql::{BinaryOp, Span};
use std::sync::Arc;

pub(super) struct HistogramSums {}
impl HistogramSums {
    pub(super) fn new(_mean: bool, _steps: usize) -> Self {
        HistogramSums {}
    }
    pub(super) fn add(&mut self, _ev: &mut Eval<'_>, _out: &Out, _span: Span) {}
    pub(super) fn finish(self, _ev: &mut Eval<'_>, _column: &mut Column, _span: Span) {}
}

pub(super) fn scaled(h: &Arc<FloatHistogram>, _by: f64) -> Arc<FloatHistogram> {
    h.clone()
}
pub(super) fn text(_h: &FloatHistogram) -> String {
    String::new()
}
pub(super) fn quantile(_notes: &mut Annotations, _q: f64, _h: &FloatHistogram, _span: Span, _metric: &str) -> f64 {
    f64::NAN
}
pub(super) fn fraction(_notes: &mut Annotations, _l: f64, _u: f64, _h: &FloatHistogram, _span: Span, _metric: &str) -> f64 {
    f64::NAN
}
impl Eval<'_> {
    pub(super) fn histogram_element(&mut self, _op: BinaryOp, _l: &Element, _r: &Element, _span: Span) -> Option<(Element, bool)> {
        None
    }
    pub(super) fn histogram_number(&mut self, _c: &CallNode, _grid: Grid, _sink: &mut Sink<'_>) -> Result<(), QueryError> {
        Ok(())
    }
    #[allow(clippy::too_many_arguments)]
    pub(super) fn smooth_histogram(&mut self, _s: &RangeBuf, _w: (usize, usize), _t: i64, _step: usize, _span: Span, _labels: &Labels, _column: &mut Column) {}
}
