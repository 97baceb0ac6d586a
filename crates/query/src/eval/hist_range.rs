//! Range functions over series that have histograms, alone or among floats.

use super::range::RangeCall;
use super::window::Windows;
use super::{Eval, RangeBuf};
use crate::QueryError;
use crate::column::Column;

impl Eval<'_> {
    pub(super) fn mixed_windows(
        &mut self,
        call: &RangeCall<'_>,
        scalars: &[Vec<f64>],
        samples: &RangeBuf,
        windows: &(Windows, Windows),
        out: &mut Column,
    ) -> Result<(), QueryError> {
        self.float_windows(call, scalars, samples, &windows.0, out)
    }
}
