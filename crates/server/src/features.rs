//! `--enable-feature`: which names act, which only warn, and the 2.x names that deployments still use.

/// What `--enable-feature` switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub agent: bool,
    pub receiver: bool,
    pub auto_reload: bool,
    pub exemplar_storage: bool,
    pub metadata_wal_records: bool,
    pub extra_scrape_metrics: bool,
    pub per_step_stats: bool,
    pub experimental_functions: bool,
    pub delayed_name_removal: bool,
    pub delayed_compaction: bool,
    pub extended_range_selectors: bool,
    pub binop_fill_modifiers: bool,
    pub use_start_timestamps: bool,
    pub type_and_unit_labels: bool,
    /// Floats go to XOR2 chunks where the file does not say.
    pub xor2: bool,
    /// Start timestamps of samples are stored.
    pub st_storage: bool,
    /// Zeros stand at the start timestamps of samples.
    pub start_zeros: bool,
    /// Scrapes make up start timestamps where targets give none.
    pub start_synthesis: bool,
    /// Histogram chunks keep start timestamps.
    pub histogram_starts: bool,
}

/// A line for the log, once there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub text: String,
    pub option: Option<String>,
}

enum Effect {
    On(fn(&mut Features), &'static str),
    /// Acts, but is on its way out.
    Phased(fn(&mut Features), &'static str),
    NoOp(&'static str),
    /// A name of Prometheus 2 that version 3 ignores.
    Old(fn(&mut Features), &'static str),
    NotBuilt,
}

use Effect::{NoOp, NotBuilt, Old, On, Phased};

const PERMANENT: &str = "This option for --enable-feature is now permanently enabled and therefore a no-op.";

/// One name a line, alphabetical.
const TABLE: &[(&str, Effect)] = &[
    ("agent", Old(|f| f.agent = true, "--agent")),
    (
        "auto-reload-config",
        Phased(
            |f| f.auto_reload = true,
            "This option for --enable-feature is deprecated. Use --config.auto-reload instead.",
        ),
    ),
    ("concurrent-rule-eval", NotBuilt),
    (
        "created-timestamp-zero-ingestion",
        On(
            |f| f.start_zeros = true,
            "Experimental start timestamp zero ingestion enabled. OpenMetrics 1.0 parsing will parse \
             <metric>_created metrics as ST instead of normal sample. Changed default scrape_protocols to prefer \
             PrometheusProto format.",
        ),
    ),
    (
        "delayed-compaction",
        On(|f| f.delayed_compaction = true, "Experimental delayed compaction is enabled."),
    ),
    (
        "exemplar-storage",
        On(|f| f.exemplar_storage = true, "Experimental in-memory exemplar storage enabled"),
    ),
    (
        "extra-scrape-metrics",
        Phased(
            |f| f.extra_scrape_metrics = true,
            "This option for --enable-feature is being phased out. Set extra_scrape_metrics in the \
             configuration file instead.",
        ),
    ),
    ("fast-startup", NotBuilt),
    (
        "histograms-st-encoding",
        On(|f| f.histogram_starts = true, "Experimental ST-capable histogram chunk encoding enabled."),
    ),
    (
        "memory-snapshot-on-shutdown",
        NoOp(
            "A snapshot of the head is taken on every clean stop; --no-storage.head-snapshot switches it off.",
        ),
    ),
    (
        "metadata-wal-records",
        On(|f| f.metadata_wal_records = true, "Experimental metadata records in WAL enabled"),
    ),
    (
        "native-histograms",
        NoOp(
            "This option for --enable-feature is a no-op. To scrape native histograms, set the \
             scrape_native_histograms scrape config setting to true.",
        ),
    ),
    ("old-ui", NotBuilt),
    ("ooo-native-histograms", NoOp(PERMANENT)),
    ("otlp-deltatocumulative", NotBuilt),
    ("otlp-native-delta-ingestion", NotBuilt),
    ("otlp-write-receiver", NotBuilt),
    (
        "promql-binop-fill-modifiers",
        On(|f| f.binop_fill_modifiers = true, "Experimental PromQL binary operator fill modifiers enabled."),
    ),
    (
        "promql-delayed-name-removal",
        On(|f| f.delayed_name_removal = true, "Experimental PromQL delayed name removal enabled."),
    ),
    ("promql-duration-expr", NoOp(PERMANENT)),
    (
        "promql-experimental-functions",
        On(|f| f.experimental_functions = true, "Experimental PromQL functions enabled."),
    ),
    (
        "promql-extended-range-selectors",
        On(|f| f.extended_range_selectors = true, "Experimental PromQL extended range selectors enabled."),
    ),
    ("promql-per-step-stats", On(|f| f.per_step_stats = true, "Experimental per-step statistics reporting")),
    ("remote-write-receiver", Old(|f| f.receiver = true, "--web.enable-remote-write-receiver")),
    ("search-api", NotBuilt),
    (
        "st-storage",
        On(
            |f| f.st_storage = true,
            "Experimental start timestamp storage enabled. OpenMetrics 1.0 parsing will parse <metric>_created \
             metrics as ST instead of normal sample. Changed default scrape_protocols to prefer PrometheusProto format.",
        ),
    ),
    ("st-synthesis", On(|f| f.start_synthesis = true, "Experimental start timestamp synthesis enabled.")),
    (
        "type-and-unit-labels",
        On(|f| f.type_and_unit_labels = true, "Experimental type and unit labels enabled"),
    ),
    (
        "use-start-timestamps",
        On(
            |f| f.use_start_timestamps = true,
            "Experimental usage of start timestamps in PromQL engine is enabled.",
        ),
    ),
    ("use-uncached-io", NotBuilt),
    (
        "xor2-encoding",
        Phased(
            |f| f.xor2 = true,
            "This option for --enable-feature is being phased out. It currently changes the default for the \
             storage.tsdb.chunk_encoding.floats config setting to xor2, but will become a no-op in a future major \
             version. Stop using this option and set storage.tsdb.chunk_encoding.floats in the config instead.",
        ),
    ),
];

/// Names that act, for the help text.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().filter(|(_, e)| matches!(e, On(..) | Phased(..) | Old(..))).map(|(n, _)| *n).collect()
}

impl Features {
    /// Whether scrapes read start timestamps and prefer the protocol that has them.
    pub fn parses_starts(&self) -> bool {
        self.st_storage || self.start_zeros
    }

    /// Reads all values of the flag. `strict` treats names of Prometheus 2 as version 3 does: as unknown.
    pub fn read(values: &[String], strict: bool) -> Result<(Features, Vec<Note>), String> {
        let mut features = Features::default();
        let mut notes = Vec::new();
        let given: Vec<&str> = values.iter().flat_map(|v| v.split(',')).collect();
        for name in &given {
            let option = Some((*name).to_owned());
            let mut note = |warning: bool, text: &str| {
                let option = option.clone().filter(|_| warning);
                notes.push(Note { warning, text: text.to_owned(), option });
            };
            let effect = TABLE.iter().find(|(n, _)| n == name).map(|(_, e)| e);
            let removed = matches!(effect, Some(Old(..))) || *name == "otlp-write-receiver";
            match effect.filter(|_| !(strict && removed)) {
                Some(On(set, text)) => {
                    set(&mut features);
                    note(false, text);
                }
                Some(Phased(set, text)) => {
                    set(&mut features);
                    note(true, text);
                }
                Some(NoOp(text)) => note(true, text),
                Some(Old(set, flag)) => {
                    set(&mut features);
                    note(
                        true,
                        &format!(
                            "This option for --enable-feature was removed in Prometheus 3.0 and is still honoured here. Use {flag} instead."
                        ),
                    );
                }
                Some(NotBuilt) => note(
                    true,
                    "This option for --enable-feature has no effect in this version: it is not built yet.",
                ),
                None => note(true, "Unknown option for --enable-feature"),
            }
        }
        if given.contains(&"otlp-deltatocumulative") && given.contains(&"otlp-native-delta-ingestion") {
            return Err("cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion features at the same time".into());
        }
        Ok((features, notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_act_unless_strict() {
        let given = ["exemplar-storage,agent".to_owned(), "zzz".to_owned()];
        let (features, notes) = Features::read(&given, false).expect("legal");
        assert!(features.agent && features.exemplar_storage);
        assert_eq!(notes.iter().map(|n| n.warning).collect::<Vec<_>>(), [false, true, true]);
        let (features, notes) = Features::read(&given, true).expect("legal");
        assert!(!features.agent);
        assert_eq!(notes[1].text, "Unknown option for --enable-feature");
        assert!(
            Features::read(&["otlp-native-delta-ingestion,otlp-deltatocumulative".into()], false).is_err()
        );
    }

    #[test]
    fn each_name_says_what_becomes_of_it() {
        let unbuilt = "This option for --enable-feature has no effect in this version: it is not built yet.";
        for (name, warning, text) in [
            ("concurrent-rule-eval", true, unbuilt),
            ("fast-startup", true, unbuilt),
            ("old-ui", true, unbuilt),
            ("otlp-deltatocumulative", true, unbuilt),
            ("otlp-native-delta-ingestion", true, unbuilt),
            ("otlp-write-receiver", true, unbuilt),
            ("search-api", true, unbuilt),
            ("use-uncached-io", true, unbuilt),
            ("ooo-native-histograms", true, PERMANENT),
            ("promql-duration-expr", true, PERMANENT),
            (
                "use-start-timestamps",
                false,
                "Experimental usage of start timestamps in PromQL engine is enabled.",
            ),
        ] {
            let (_, notes) = Features::read(&[name.to_owned()], false).expect("legal");
            let want = [Note { warning, text: text.to_owned(), option: warning.then(|| name.to_owned()) }];
            assert_eq!(notes, want);
        }
        let names = ["auto-reload-config", "extra-scrape-metrics", "native-histograms"];
        let (features, notes) = Features::read(&names.map(str::to_owned), false).expect("legal");
        assert!(features.auto_reload && features.extra_scrape_metrics && notes.iter().all(|n| n.warning));
    }

    #[test]
    fn table_is_sorted() {
        assert!(TABLE.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
