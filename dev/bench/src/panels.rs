//! The queries of the benchmark, in the shapes that dashboards, rules and explorers send.

/// One request.
pub struct Panel {
    pub name: String,
    pub query: String,
    /// Path and parameters.
    pub path: String,
}

pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

const HOUR: i64 = 3600;
const BUCKET: &str = "http_server_request_duration_seconds_bucket";

/// Queries over data that ends at `end` (s) and goes back `reach` seconds.
pub fn panels(end: i64, reach: i64) -> Vec<Panel> {
    let mut all = Vec::new();
    let mut instant = |name: &str, query: &str| {
        let path = format!("/api/v1/query?query={}&time={end}", escape(query));
        all.push(Panel { name: name.into(), query: query.into(), path });
    };
    instant("topk, now", "topk(10, container_resource_usage_3_bytes)");
    instant("bottomk of rates, now", "bottomk(5, rate(node_disk_and_cpu_figure_2_total[5m]))");
    instant("count of everything", r#"count({__name__=~".+"})"#);
    instant("series by metric", r#"topk(20, count by (__name__) ({__name__=~".+"}))"#);
    instant("rates of one job by instance", r#"sum by (instance) (rate({job="checkout-api"}[5m]))"#);
    instant("raw range, one target", r#"container_resource_usage_5_bytes{instance="10.0.0.1:9100"}[1h]"#);
    instant("average over the whole time", "avg_over_time(container_resource_usage_4_bytes[1d])");
    instant("increase over the whole time", "sum by (mode) (increase(node_disk_and_cpu_figure_1_total[1d]))");
    instant("median of many", r#"quantile(0.5, {job="kubelet"})"#);
    instant("predict_linear", "predict_linear(container_resource_usage_7_bytes[1h], 4 * 3600) < 0");
    instant("absent", r#"absent(up{job="nothing"})"#);
    instant(
        "subquery, now",
        "max_over_time(sum by (mode) (rate(node_disk_and_cpu_figure_1_total[5m]))[1h:1m])",
    );

    let mut range = |name: &str, query: &str, back: i64, step: i64| {
        let back = back.min(reach - 360).max(step);
        let (from, to) = ((end - back) / step * step, end / step * step);
        let path = format!("/api/v1/query_range?query={}&start={from}&end={to}&step={step}", escape(query));
        all.push(Panel { name: format!("{name}, {} min", back / 60), query: query.into(), path });
    };
    for (back, step) in [(HOUR, 15), (6 * HOUR, 60), (24 * HOUR, 300)] {
        if back != HOUR && back > reach {
            continue;
        }
        range(
            "rate by instance",
            "sum by (instance) (rate(node_disk_and_cpu_figure_5_total[5m]))",
            back,
            step,
        );
        let quantile = format!("histogram_quantile(0.99, sum by (le) (rate({BUCKET}[5m])))");
        range("p99", &quantile, back, step);
        range(
            "regex over a job",
            r#"sum by (mode) ({__name__=~"node_disk_and_cpu_figure_.+_total", mode!~"idle|user"})"#,
            back,
            step * 4,
        );
        range(
            "join",
            "container_resource_usage_1_bytes / on (instance, pod) container_resource_usage_2_bytes",
            back,
            step,
        );
    }
    let by_route = format!("histogram_quantile(0.9, sum by (le, route) (rate({BUCKET}[5m])))");
    range("p90 by route", &by_route, HOUR, 60);
    let errors = format!(r#"sum(rate({BUCKET}{{status_code="500"}}[5m])) / sum(rate({BUCKET}[5m]))"#);
    range("error ratio", &errors, HOUR, 30);
    let twice = format!("sum(rate({BUCKET}[5m])) / count(rate({BUCKET}[5m]))");
    range("one selector twice", &twice, HOUR, 30);
    range("sum of many", &format!("sum({BUCKET})"), HOUR, 15);
    range("sum by cluster of a job", r#"sum by (cluster) ({job="kubelet"})"#, HOUR, 60);
    range("topk of pods", "topk(5, sum by (pod) (rate(container_resource_usage_1_bytes[5m])))", HOUR, 30);
    range(
        "group_left",
        "sum by (instance, pod) (container_resource_usage_1_bytes) * on (instance, pod) \
         group_left (image) (container_resource_usage_2_bytes > bool 0)",
        HOUR,
        30,
    );
    range("raw graph", "kube_object_status_condition_2", HOUR, 15);
    range(
        "unless and filter",
        r#"container_resource_usage_8_bytes > 500 unless on (pod) kube_object_status_condition_1{condition="true"}"#,
        HOUR,
        30,
    );
    range("p95 of a gauge", "quantile_over_time(0.95, container_resource_usage_4_bytes[30m])", HOUR, 60);
    range(
        "offset compare",
        "sum(rate(node_disk_and_cpu_figure_3_total[5m])) - sum(rate(node_disk_and_cpu_figure_3_total[5m] offset 10m))",
        HOUR,
        30,
    );
    range("changes", "sum by (namespace) (changes(kube_object_status_condition_3[15m]))", HOUR, 60);
    range(
        "label_replace",
        r#"sum by (app) (label_replace(container_resource_usage_6_bytes, "app", "$1", "pod", "(workload-[0-9]+)-.*"))"#,
        HOUR,
        30,
    );
    range(
        "subquery",
        "max_over_time(sum by (mode) (rate(node_disk_and_cpu_figure_1_total[5m]))[30m:1m])",
        6 * HOUR,
        300,
    );
    range(
        "stddev by pod family",
        "stddev by (namespace) (deriv(container_resource_usage_9_bytes[10m]))",
        HOUR,
        60,
    );

    label_calls(end, reach, &mut all);
    all
}

/// What query editors and variables of dashboards ask for.
fn label_calls(end: i64, reach: i64, all: &mut Vec<Panel>) {
    let mut label = |name: &str, path: String| {
        all.push(Panel { name: name.into(), query: path.clone(), path });
    };
    let window = format!("start={}&end={end}", end - HOUR.min(reach));
    let matching = |selector: &str| format!("match[]={}&{window}", escape(selector));
    label("label names", format!("/api/v1/labels?{window}"));
    label("label names of a job", format!("/api/v1/labels?{}", matching(r#"{job="checkout-api"}"#)));
    label(
        "label names by regex",
        format!("/api/v1/labels?{}", matching(r#"{__name__=~"container_resource_usage_.+_bytes"}"#)),
    );
    label("values of instance", format!("/api/v1/label/instance/values?{window}"));
    label("metric names", format!("/api/v1/label/__name__/values?{window}"));
    label("values of pod of a job", format!("/api/v1/label/pod/values?{}", matching(r#"{job="kubelet"}"#)));
    label(
        "values of route by regex",
        format!("/api/v1/label/route/values?{}", matching(r#"{route=~"/api/v[12]/.*",method!="PUT"}"#)),
    );
    label(
        "values of uid by regex",
        format!(
            "/api/v1/label/uid/values?{}",
            matching(r#"{__name__=~"kube_object_status_condition_(1|2)",namespace=~"team-1.*"}"#)
        ),
    );
    label(
        "series of a metric",
        format!(
            "/api/v1/series?{}",
            matching(r#"container_resource_usage_1_bytes{namespace=~"team-(1|5)"}"#)
        ),
    );
    label("series of a job", format!("/api/v1/series?{}", matching(r#"{job="checkout-api"}"#)));
}
