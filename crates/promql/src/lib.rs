//! `promql`
