//! Answers of Go's library, held against ours.

use super::Regexp;
use proptest::prelude::*;

fn check(expr: &str, yes: &[&str], no: &[&str]) {
    for regexp in [Regexp::anchored(expr), Regexp::wrapped(expr)] {
        let regexp = regexp.unwrap_or_else(|e| panic!("{expr}: {e}"));
        for (values, want) in [(yes, true), (no, false)] {
            for value in values {
                assert_eq!(regexp.is_match(value), want, "{expr} on {value:?}");
                assert_eq!(regexp.regex().is_match(value), want, "automaton of {expr} on {value:?}");
                assert!(!want || value.starts_with(regexp.prefix()), "prefix of {expr}");
            }
        }
    }
}

#[test]
fn means_what_go_means() {
    check("", &[""], &["a"]);
    check("a.b", &["a\nb", "axb"], &["ab", "xa.b"]);
    check("(?-s)a.b", &["axb"], &["a\nb"]);
    check(r"\d+", &["019"], &["٣", ""]);
    check(r"\w", &["_", "z"], &["é"]);
    check(r"\W", &["é", "-"], &["a"]);
    check(r"a\b.*", &["a", "a-", "aé"], &["ab"]);
    check(r".*\B.*", &["", "ab", "éé"], &["a"]);
    check(r"\s\S", &["\ta", "\n\u{a0}"], &["\u{b}a"]);
    check("[a&&b]+", &["a&b"], &["c"]);
    check("[a-z&&[aeiou]]", &["a]", "&]", "[]", "z]"], &["a", "A]"]);
    check("[[a]]", &["[]", "a]"], &["a"]);
    check("[+--]+", &["+,-"], &["."]);
    check(r"[\w-.]", &["a", "-", "."], &["/"]);
    check("[[abc]", &["["], &["]"]);
    check("[]a]", &["]", "a"], &["[]"]);
    check("[^]a]", &["b"], &["]", "a"]);
    check("[[:alpha:]-]+", &["a-b"], &["1"]);
    check(r"[[:^digit:]\d]", &["1", "é"], &[""]);
    check(r"\Qa.*b\E+", &["a.*b", "a.*bb"], &["a.*ba.*b"]);
    check("{", &["{"], &["{{"]);
    check("a{,5}", &["a{,5}"], &["aa"]);
    check("a{x}|{}", &["a{x}", "{}"], &["a"]);
    check("a{2}?b{1,}c{0,1}", &["aab", "aabbc"], &["ab"]);
    check(r"\101\0\x41\x{1F600}\_", &["A\0A\u{1f600}_"], &["A"]);
    check(r"\x{D800}|a", &["a"], &["\u{fffd}"]);
    check(r"[\x{D7FF}-\x{E000}]", &["\u{d7ff}", "\u{e000}"], &["a"]);
    check(r"\pL\PL\p{^L}\p{Greek}\p{Any}", &["a11αx"], &["aaaα1"]);
    check("(?i)stra(s|ß)e", &["STRASE", "straſe", "StraßE"], &["strasse"]);
    check("(?i:a)b", &["Ab"], &["AB"]);
    check("(?i)[^k]", &["x"], &["K", "\u{212a}"]);
    check("(?:a(?i)b|c)d", &["aBd", "Cd"], &["Abd", "cD"]);
    check("(?m)a$\n^b", &["a\nb"], &["a"]);
    check("^foo$|^(bar$)", &["foo", "bar"], &["foobar"]);
    check("a(?i)*", &["", "aa"], &["A"]);
    check("a*(?U)*", &["aaa"], &["b"]);
    check("(?P<1a>a)(?P<n>b)(?<n>c)", &["abc"], &["ab"]);
    check("foo.*bar.*|.*baz", &["foobar", "foo\nbarx", "xbaz"], &["xfoobar", "bazx"]);
    check("aba.*ba", &["ababa", "aba-ba"], &["aba"]);
    check(".*a.*b.*", &["ab", "xaybz"], &["ba"]);
    check(".+", &["\n", "x"], &[""]);
}

#[test]
fn refuses_as_go_does() {
    for (expr, want) in [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("a[b", "missing closing ]: `[b`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("(|+?)", "missing argument to repetition operator: `+?`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}?", "invalid nested repetition operator: `{2}{3}?`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("((a{40}){30})", "invalid repeat count: `{30}`"),
        ("[a--b]", "invalid character class range: `a--`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        (r"\p{Letter}", r"invalid character class range: `\p{Letter}`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("(?x)", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
    ] {
        let error = Regexp::anchored(expr).expect_err(expr).to_string();
        assert_eq!(error, format!("error parsing regexp: {want}"));
    }
    let wrapped = Regexp::wrapped("(").expect_err("open group").to_string();
    assert_eq!(wrapped, "error parsing regexp: missing closing ): `^(?s:()$`");
    assert!(Regexp::wrapped(r"\p{lowercase-letter}").is_ok(), "Go's own library takes any spelling");
    assert!(Regexp::anchored(r"\Qa.b").is_ok_and(|r| r.is_match("a.b") && !r.is_match("axb")));
    assert!(Regexp::wrapped(r"\Qa.b").is_err(), "the quote runs over the closing parenthesis");
    assert!(Regexp::wrapped("a)|(b").is_ok_and(|r| r.is_match("ax")));
    assert!(Regexp::anchored("a)|(b").is_err());
}

#[test]
fn large_expressions_are_refused_or_bounded() {
    assert!(Regexp::anchored(&"(".repeat(100_000)).is_err());
    assert!(Regexp::anchored(&format!("{}a{}", "(".repeat(150), ")*".repeat(150))).is_ok());
    let copies = Regexp::anchored(&r"\pL{1000}\pN{1000}".repeat(40)).expect_err("too large").to_string();
    assert!(copies.starts_with("error parsing regexp: expression too large: `"), "{copies}");
    let names: Vec<_> = (0..5000).map(|n| format!("name_{n}")).collect();
    let many = Regexp::anchored(&names.join("|")).expect("just long");
    assert!(many.is_match("name_4999") && !many.is_match("name_5000"));
    assert_eq!(many.set_matches().map(<[String]>::len), Some(5000));
    assert!(many.regex().is_match("name_1234"));
    for (open, close) in [("", ""), ("(", ")"), ("(?:", ")")] {
        let names: Vec<_> = (0..200_000).map(|n| format!(r"name\.{n}")).collect();
        let many = Regexp::anchored(&format!("{open}{}{close}", names.join("|"))).expect("just long");
        assert!(many.is_match("name.199999") && !many.is_match("name.200000"));
        assert_eq!(many.set_matches().map(<[String]>::len), Some(200_000));
    }
    let shapes: Vec<_> = (0..20_000).map(|n| format!("{n}.+x")).collect();
    let error = Regexp::anchored(&shapes.join("|")).expect_err("too long").to_string();
    assert!(error.starts_with("error parsing regexp: expression too large: `0.+x|"), "{error}");
    assert!(Regexp::wrapped(&shapes.join("|")).is_err());
    assert!(Regexp::anchored("[a-z][0-9a-z]").is_ok_and(|r| r.set_matches().is_none()), "not spelt out");
}

#[test]
fn sets_and_prefixes() {
    let set = |expr: &str| Regexp::anchored(expr).expect(expr).set_matches().map(|set| set.join(","));
    for (expr, want) in [
        ("foo", Some("foo")),
        ("foo|bar", Some("bar,foo")),
        ("^(foo|ba[rz])$", Some("bar,baz,foo")),
        ("(a|b)(c|d)?", Some("a,ac,ad,b,bc,bd")),
        ("a|", Some(",a")),
        ("a|a", Some("a")),
        ("(?i)ab", Some("AB,Ab,aB,ab")),
        (r"a\.b", Some("a.b")),
        ("", Some("")),
        ("a.", None),
        ("a+", None),
        ("[a-z][a-z]", None),
        ("a^b", None),
    ] {
        assert_eq!(set(expr).as_deref(), want, "{expr}");
    }
    for (expr, want) in [
        ("foo.*", "foo"),
        ("foo.*bar", "foo"),
        ("^foo(bar)[0-9]+", "foobar"),
        ("foo", "foo"),
        ("foo|far", ""),
        ("(?i)foo.+", ""),
        (".*", ""),
    ] {
        assert_eq!(Regexp::anchored(expr).expect(expr).prefix(), want, "{expr}");
    }
    assert!(Regexp::anchored("(.*)").is_ok_and(|r| r.matches_all()));
    assert!(!Regexp::anchored(".+").is_ok_and(|r| r.matches_all()));
}

const BITS: &[&str] = &[
    "a", "b", "foo", "|", "(", ")", "(?:", "(?i)", "(?P<x>", "*", "+?", "?", "{2}", "{1,3}", "{", ".", ".*",
    "^", "$", "[", "]", "[^a-c]", "-", "\\", r"\b", r"\B", r"\d", r"\pL", r"\Q", r"\E", "é", "\n",
];

proptest! {
    /// Shortcuts agree with the automaton, and no expression makes the translation produce what the crate
    /// refuses.
    #[test]
    fn plans_agree_with_the_automaton(
        bits in prop::collection::vec(prop::sample::select(BITS), 0..8),
        values in prop::collection::vec("[abfo\\néA.]{0,6}", 8),
    ) {
        let expr = bits.concat();
        match (Regexp::anchored(&expr), Regexp::wrapped(&expr)) {
            (Ok(a), Ok(w)) => for value in &values {
                prop_assert_eq!(a.is_match(value), a.regex().is_match(value), "{} on {:?}", expr, value);
                prop_assert_eq!(a.is_match(value), w.is_match(value), "{} on {:?}", expr, value);
            },
            (Err(e), _) => prop_assert!(!e.0.starts_with("expression too large"), "{}: {}", expr, e),
            (Ok(_), Err(e)) => prop_assert!(expr.contains(r"\Q"), "{}: {}", expr, e),
        }
    }
}
