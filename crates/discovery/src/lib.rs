//! `discovery`
