//! `config`
