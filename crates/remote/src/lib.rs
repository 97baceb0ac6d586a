//! `remote`
