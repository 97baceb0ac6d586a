//! `tsdb`
