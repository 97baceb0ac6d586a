//! Tests of names and contents of target files.

use super::*;

#[test]
fn patterns() {
    for good in ["a.json", "/x/*.yml", "/x/a*b.YAML", "a.b/c.yaml", "*.json"] {
        assert!(valid_pattern(good), "{good}");
    }
    for bad in ["a", "a.txt", "/x/*/a.json", "x/**/a.json", "*", ".json/"] {
        assert!(!valid_pattern(bad), "{bad}");
    }
    let matched = |pattern: &str, name: &str| {
        matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
    };
    assert!(matched("*.json", "a.json") && matched("a*b.json", "ab.json") && matched("a?.json", "aé.json"));
    assert!(!matched("*.json", "a.yml") && !matched("a*b.json", "a.json"));
}

#[test]
fn contents() {
    let read = |name: &str, text: &str| parse(Path::new(name), text).map(|g| g.len());
    assert_eq!(read("a.yml", "- targets: [a]\n- targets: [b]\n"), Ok(2));
    assert_eq!(read("a.yml", ""), Ok(0));
    assert_eq!(read("a.JSON", "[]"), Ok(0));
    assert_eq!(read("a.json", "[null]"), Err("nil target group item found".into()));
    assert!(read("a.json", r#"[{"targets": ["a"], "x": 1}]"#).is_err());
    assert_eq!(read("a.yml", "- x: 1"), Err("line 1: [0]: field x not found in type StaticConfig".into()));
}
