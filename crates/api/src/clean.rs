//! Paths that are nearly right: where Go's and upstream's routers send them.
//!
//! Room: `api`. Pure.

use http::Method;

/// A path without empty, `.` and `..` parts; a slash at its end stays. `None` when it is clean already.
pub(crate) fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

/// Paths in service, with their methods.
#[derive(Debug, Default)]
pub(crate) struct Known(Vec<(String, Vec<&'static Method>)>);

impl Known {
    /// `path` may have one variable part, `{name}`.
    pub(crate) fn add(&mut self, path: String, methods: Vec<&'static Method>) {
        self.0.push((path, methods));
    }

    /// The path that was meant: without the slash at its end, in its true case.
    pub(crate) fn meant(&self, method: &Method, path: &str) -> Option<String> {
        let asked = path.strip_suffix('/').unwrap_or(path);
        let (known, _) = self.0.iter().find(|(known, methods)| {
            methods.contains(&method)
                && known.split('/').count() == asked.split('/').count()
                && known.split('/').zip(asked.split('/')).all(|(known, asked)| {
                    known.eq_ignore_ascii_case(asked) || (known == "{name}" && !asked.is_empty())
                })
        })?;
        let parts = known.split('/').zip(asked.split('/'));
        let parts: Vec<&str> =
            parts.map(|(known, asked)| if known == "{name}" { asked } else { known }).collect();
        let meant = parts.join("/");
        (meant != path && !meant.is_empty()).then_some(meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, want) in [
            ("/a/b", None),
            ("/", None),
            ("/a/", None),
            ("//a", Some("/a")),
            ("/a//b/./c/../d/", Some("/a/b/d/")),
            ("/../a", Some("/a")),
            ("//", Some("/")),
            ("/.", Some("/")),
        ] {
            assert_eq!(cleaned(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn near_misses() {
        let mut known = Known::default();
        known.add("/api/v1/label/{name}/values".into(), vec![&Method::GET]);
        known.add("/metrics".into(), vec![&Method::GET]);
        let meant = |path: &str| known.meant(&Method::GET, path);
        assert_eq!(meant("/metrics/").as_deref(), Some("/metrics"));
        assert_eq!(meant("/Metrics").as_deref(), Some("/metrics"));
        assert_eq!(meant("/api/v1/LABEL/Ab/values/").as_deref(), Some("/api/v1/label/Ab/values"));
        assert_eq!((meant("/metrics"), meant("/x"), meant("/")), (None, None, None));
        assert_eq!(known.meant(&Method::POST, "/metrics/"), None);
    }
}
