//! `/metrics`: our own metrics, in the format that the scraper asks for.

use crate::params::Form;
use crate::router::BoxFuture;
use crate::state::Api;
use crate::wrap::Encoding;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use meter::FamilyKind;
use model::MetricType;
use std::sync::Arc;
use wire::exposition::encode::{Encoder, FamilyHead, Format, TextFormat, negotiate};

pub(crate) fn metrics(api: Arc<Api>, request: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        let headers = request.headers();
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
        // Upstream offers no OpenMetrics here either.
        let format = negotiate(accept, false);
        // Nor text 1.0.0.
        let text = match format.text {
            TextFormat::Text1_0_0 => TextFormat::Text0_0_4,
            text => text,
        };
        let format = Format { text, ..format };
        let form = Form::parse(b"", request.uri().query().unwrap_or(""));
        let names: Vec<&str> = form.all("name[]").collect();
        let mut encoder = Encoder::new(format);
        for family in api.registry.snapshot() {
            if !names.is_empty() && !names.contains(&family.name.as_str()) {
                continue;
            }
            let kind = match family.kind {
                FamilyKind::Counter => MetricType::Counter,
                FamilyKind::Gauge => MetricType::Gauge,
                FamilyKind::Histogram => MetricType::Histogram,
                FamilyKind::Summary => MetricType::Summary,
                FamilyKind::Untyped => MetricType::Unknown,
            };
            encoder.family(FamilyHead { name: &family.name, help: Some(&family.help), kind, unit: "" });
            for point in &family.points {
                let labels = point.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                encoder.sample(point.suffix, labels, point.value, None, None);
            }
        }
        let encoding = match Encoding::negotiate(headers) {
            Encoding::Gzip => Encoding::Gzip,
            _ => Encoding::Identity,
        };
        let pieces = encoding.encode(vec![Bytes::from(encoder.finish())]);
        let mut response = Response::new(crate::wrap::body_of(pieces));
        if let Ok(value) = HeaderValue::try_from(format.content_type()) {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        if encoding == Encoding::Gzip {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    })
}
