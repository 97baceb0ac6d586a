//! `/api/v1/features`: what is on, by upstream's categories and names. Parts that are not built are left out.

use crate::assemble::language;
use crate::flags::Settings;
use std::collections::BTreeMap;

type Shown = BTreeMap<String, BTreeMap<String, bool>>;

pub(crate) fn shown(settings: &Settings) -> Shown {
    let mut all = Shown::new();
    let mut put = |category: &str, names: &[(&str, bool)]| {
        let set = all.entry(category.to_owned()).or_default();
        set.extend(names.iter().map(|(name, on)| ((*name).to_owned(), *on)));
    };
    let language = language(settings);
    let features = &settings.features;
    put(
        "api",
        &[
            ("admin", settings.enable_admin_api),
            ("exclude_alerts", true),
            ("label_values_match", true),
            ("lifecycle", settings.enable_lifecycle),
            ("otlp_write_receiver", false),
            ("query_stats", true),
            ("query_warnings", true),
            ("remote_write_receiver", settings.receiver),
            ("search", false),
            ("time_range_labels", true),
            ("time_range_series", true),
        ],
    );
    put(
        "prometheus",
        &[
            ("agent_mode", settings.agent),
            ("auto_reload_config", settings.auto_reload.is_some()),
            ("server_mode", !settings.agent),
        ],
    );
    put(
        "scrape",
        &[
            ("extra_scrape_metrics", true),
            ("start_timestamp_zero_ingestion", features.start_zeros),
            ("type_and_unit_labels", features.type_and_unit_labels),
        ],
    );
    if features.start_synthesis {
        put("scrape", &[("st-synthesis", true)]);
    }
    put("service_discovery_providers", &[("file", true), ("http", true), ("static", true)]);
    if settings.agent {
        return all;
    }
    put(
        "tsdb",
        &[
            ("delayed_compaction", features.delayed_compaction),
            ("exemplar_storage", features.exemplar_storage),
            ("histograms_st_encoding", features.histogram_starts),
            ("isolation", true),
            ("metadata_wal_records", features.metadata_wal_records),
            ("st_storage", features.st_storage),
            ("xor2_encoding", true),
        ],
    );
    put(
        "promql",
        &[
            ("anchored", language.extended_range_selectors),
            ("at_modifier", true),
            ("bool", true),
            ("by", true),
            ("delayed_name_removal", features.delayed_name_removal),
            ("duration_expr", language.duration_expressions),
            ("fill", language.fill_modifiers),
            ("fill_left", language.fill_modifiers),
            ("fill_right", language.fill_modifiers),
            ("group_left", true),
            ("group_right", true),
            ("ignoring", true),
            ("negative_offset", true),
            ("offset", true),
            ("on", true),
            ("per_query_lookback_delta", true),
            ("per_step_stats", features.per_step_stats),
            ("smoothed", language.extended_range_selectors),
            ("subqueries", true),
            ("type_and_unit_labels", features.type_and_unit_labels),
            ("without", true),
        ],
    );
    let functions: Vec<(&str, bool)> = promql::FUNCTIONS
        .iter()
        .map(|f| (f.name, !f.experimental || language.experimental_functions))
        .collect();
    put("promql_functions", &functions);
    all
}
