//! Relabelling: rules and their pure application to a label set.
