//! Target groups from an HTTP endpoint.

use crate::group::{StaticConfig, TargetGroup};
use crate::metrics::SdMetrics;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use model::duration::DurationMs;
use model::labels::quote;
use net::client::{ClientError, ClientOptions, HttpClient};
use net::config::HttpClientConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

const URL: &str = "__meta_url";
/// Longest answer.
const BODY_BYTES: u64 = 128 << 20;

/// One entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct HttpSdConfig {
    #[serde(rename = "$inline.http")]
    pub http: HttpClientConfig,
    pub refresh_interval: DurationMs,
    pub url: String,
}

impl Default for HttpSdConfig {
    fn default() -> Self {
        HttpSdConfig {
            http: HttpClientConfig::default(),
            refresh_interval: DurationMs(60_000),
            url: String::new(),
        }
    }
}

impl<'de> Deserialize<'de> for HttpSdConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(d)?;
        if config.url.is_empty() {
            return Err(de::Error::custom("URL is missing"));
        }
        let url = Url::parse(&config.url).map_err(|e| match e {
            url::ParseError::RelativeUrlWithoutBase => {
                de::Error::custom("URL scheme must be 'http' or 'https'")
            }
            url::ParseError::EmptyHost => de::Error::custom("host is missing in URL"),
            other => de::Error::custom(format!("parse {}: {other}", quote(&config.url))),
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(de::Error::custom("URL scheme must be 'http' or 'https'"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(de::Error::custom("host is missing in URL"));
        }
        Ok(config)
    }
}

impl Serialize for HttpSdConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

pub(crate) struct HttpProvider {
    config: HttpSdConfig,
    client: HttpClient,
    metrics: Arc<SdMetrics>,
    /// The job that refresh metrics name.
    job: String,
    /// Groups in the last good answer.
    last: usize,
}

impl HttpProvider {
    pub(crate) fn new(
        config: HttpSdConfig,
        job: String,
        metrics: Arc<SdMetrics>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let client = HttpClient::new(&config.http, options)?;
        Ok(HttpProvider { config, client, metrics, job, last: 0 })
    }

    fn interval(&self) -> Duration {
        self.config.refresh_interval.std().max(Duration::from_millis(100))
    }

    pub(crate) async fn run(mut self, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(self.interval());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let began = Instant::now();
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                answer = self.refresh() => answer,
            };
            let took = began.elapsed().as_secs_f64();
            self.metrics.refresh_duration.with(&["http", &self.job]).observe(took);
            self.metrics.refresh_histogram.with(&["http"]).observe(took);
            let failures = self.metrics.refresh_failures.with(&["http", &self.job]);
            match answer {
                Ok(groups) => {
                    if updates.send(groups).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    failures.inc();
                    self.metrics.http_failures.inc();
                    let config = &self.job;
                    tracing::error!(component = "discovery manager", discovery = "http", %config, err = %error, "Unable to refresh target groups");
                }
            }
        }
    }

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let seconds = self.config.refresh_interval.0 as f64 / 1000.0;
        let request = Request::get(&self.config.url)
            .header(ACCEPT, "application/json")
            .header("X-Prometheus-Refresh-Interval-Seconds", seconds.to_string())
            .body(http_body_util::Full::default())
            .map_err(|e| e.to_string())?;
        let answer = self.client.request(request, self.interval()).await.map_err(|e| e.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("server returned HTTP status {}", answer.status));
        }
        let kind = answer.header(CONTENT_TYPE).trim().to_owned();
        if !is_json(&kind) {
            return Err(format!("unsupported content type {}", quote(&kind)));
        }
        let body = answer.read_body(BODY_BYTES).await.map_err(|e| e.to_string())?;
        let groups: Option<Vec<Option<StaticConfig>>> =
            serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        let url = &self.config.url;
        let mut found = Vec::new();
        for (i, group) in groups.unwrap_or_default().into_iter().enumerate() {
            let group = group.ok_or("nil target group item found")?;
            found.push(group.group(format!("{url}:{i}"), Some((URL, url))));
        }
        let count = found.len();
        let gone = (count..self.last)
            .map(|i| TargetGroup { source: format!("{url}:{i}"), ..TargetGroup::default() });
        found.extend(gone);
        self.last = count;
        Ok(found)
    }
}

/// `application/json`, alone or with `charset=utf-8`.
fn is_json(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let (base, rest) = kind.split_once(';').map_or((kind.as_str(), None), |(b, r)| (b, Some(r.trim_start())));
    base == "application/json" && rest.is_none_or(|r| matches!(r, "charset=utf-8" | "charset=\"utf-8\""))
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn content_types() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/plain", "application/json; charset=latin1", "application/json "] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
