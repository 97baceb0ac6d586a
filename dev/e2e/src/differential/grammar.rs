//! Random queries of the whole language, most of them valid.

use super::data::{SPAN, START};
use super::rng::Rng;
use super::tree::Tree;
use super::words::*;

/// What the peer understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub experimental_functions: bool,
    pub duration_expressions: bool,
    pub extended_ranges: bool,
    pub fill: bool,
    /// The data has start timestamps, and the language looks at them.
    pub starts: bool,
    /// Functions and operators that are newer than 3.5.
    pub recent: bool,
}

/// Makes queries; the same seed makes the same ones.
pub struct Grammar {
    pub rng: Rng,
    pub level: Level,
}

/// Which expression is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Vector,
    Scalar,
    Matrix,
    Text,
}

impl Grammar {
    pub fn new(seed: u64, level: Level) -> Self {
        Grammar { rng: Rng::new(seed), level }
    }

    /// One query.
    pub fn query(&mut self) -> Tree {
        let depth = 1 + self.rng.below(4);
        match self.rng.below(100) {
            0..=84 => self.vector(depth),
            85..=91 => self.scalar(depth),
            92..=97 => self.matrix(depth),
            _ => self.string(),
        }
    }

    fn any(&mut self, want: Want, depth: usize) -> Tree {
        // Now and then a wrong type.
        let want = if self.rng.percent(1) {
            [Want::Vector, Want::Scalar, Want::Matrix, Want::Text][self.rng.below(4)]
        } else {
            want
        };
        match want {
            Want::Vector => self.vector(depth),
            Want::Scalar => self.scalar(depth),
            Want::Matrix => self.matrix(depth),
            Want::Text => self.string(),
        }
    }

    fn v(&mut self, depth: usize) -> Tree {
        self.any(Want::Vector, depth.saturating_sub(1))
    }

    fn s(&mut self, depth: usize) -> Tree {
        self.any(Want::Scalar, depth.saturating_sub(1))
    }

    fn m(&mut self, depth: usize) -> Tree {
        self.any(Want::Matrix, depth.saturating_sub(1))
    }

    fn string(&mut self) -> Tree {
        Tree::text(self.rng.pick(STRINGS))
    }

    fn vector(&mut self, depth: usize) -> Tree {
        if depth == 0 {
            return self.selector_with_modifiers(None);
        }
        match self.rng.below(100) {
            0..=9 => self.selector_with_modifiers(None),
            10..=31 => self.aggregation(depth),
            32..=52 => self.binary(depth),
            53..=73 => self.over_time(depth),
            74..=79 => self.math(depth),
            80..=90 => self.histogram(depth),
            91..=93 => self.labels(depth),
            94 if self.level.experimental_functions => self.info(depth),
            95 => Tree::text("vector(").c(self.s(depth)).t(")"),
            96 => Tree::text("-").c(self.v(depth)),
            97 => Tree::text("(").c(self.v(depth)).t(")"),
            98 if self.level.experimental_functions => self.info(depth),
            _ => Tree::text("+").c(self.v(depth)),
        }
    }

    fn scalar(&mut self, depth: usize) -> Tree {
        if depth == 0 || self.rng.percent(55) {
            return Tree::text(self.rng.pick(NUMBERS));
        }
        match self.rng.below(10) {
            0 => Tree::text("time()"),
            1 => Tree::text("pi()"),
            2 | 3 => Tree::text("scalar(").c(self.v(depth)).t(")"),
            4 if self.level.experimental_functions && self.level.recent => {
                Tree::text(self.rng.pick(&["step()", "start()", "end()", "range()"]))
            }
            5 if self.level.experimental_functions && self.level.recent => {
                let name = self.rng.pick(&["min_of(", "max_of("]);
                Tree::text(name).c(self.s(depth)).t(", ").c(self.s(depth)).t(")")
            }
            6 => Tree::text("-").c(self.s(depth)),
            7 => Tree::text("(").c(self.s(depth)).t(")"),
            _ => {
                let op = if self.rng.percent(70) {
                    self.rng.pick(ARITHMETIC).to_owned()
                } else {
                    format!("{} bool", self.rng.pick(COMPARISON))
                };
                Tree::default().c(self.s(depth)).t(format!(" {op} ")).c(self.s(depth))
            }
        }
    }

    fn duration(&mut self, plain: &[&str]) -> String {
        if self.level.duration_expressions && self.rng.percent(8) {
            return self.rng.pick(DURATION_EXPRESSIONS).to_owned();
        }
        self.rng.pick(plain).to_owned()
    }

    fn selector(&mut self) -> String {
        let name = match self.rng.below(100) {
            0..=11 => return self.rng.pick(SELECTORS).to_owned(),
            12..=36 => self.rng.pick(NATIVE),
            _ => self.rng.pick(FLOATS),
        };
        let mut out = name.to_owned();
        if self.rng.percent(35) {
            let n = 1 + self.rng.below(2);
            let matchers: Vec<&str> = (0..n).map(|_| self.rng.pick(MATCHERS)).collect();
            out += &format!("{{{}}}", matchers.join(","));
        }
        out
    }

    fn at(&mut self) -> String {
        match self.rng.below(5) {
            0 => "@ start()".into(),
            1 => "@ end()".into(),
            2 => format!("@ {}", START / 1000 + self.rng.below((SPAN / 1000) as usize) as i64),
            3 => format!("@ {}.5", START / 1000 + self.rng.below((SPAN / 1000) as usize) as i64),
            _ => format!("@ {}", START / 1000 + 3600),
        }
    }

    /// `offset` and `@`, both, or mostly none.
    fn modifiers(&mut self) -> String {
        match self.rng.below(20) {
            0 | 1 => format!(" offset {}", self.duration(OFFSETS)),
            2 | 3 => format!(" {}", self.at()),
            4 => format!(" {} offset {}", self.at(), self.rng.pick(OFFSETS)),
            5 => format!(" offset {} {}", self.rng.pick(OFFSETS), self.at()),
            _ => String::new(),
        }
    }

    fn selector_with_modifiers(&mut self, range: Option<&str>) -> Tree {
        let mut text = self.selector();
        if let Some(range) = range {
            text += &format!("[{range}]");
        }
        text += &self.modifiers();
        Tree::text(text)
    }

    fn matrix(&mut self, depth: usize) -> Tree {
        if depth > 0 && self.rng.percent(22) {
            let range = self.duration(DURATIONS);
            let step = if self.rng.percent(30) {
                String::new()
            } else {
                self.duration(&["1m", "30s", "15s", "7s", "5m", "2m"])
            };
            let inner = match self.rng.below(3) {
                0 => Tree::text("(").c(self.v(depth)).t(")"),
                1 => self.over_time(depth.saturating_sub(1)),
                _ => self.selector_with_modifiers(None),
            };
            let modifiers = self.modifiers();
            return Tree::default().c(inner).t(format!("[{range}:{step}]{modifiers}"));
        }
        let range = self.duration(DURATIONS);
        if self.level.extended_ranges && self.rng.percent(2) {
            let word = self.rng.pick(&[" anchored", " smoothed"]);
            return Tree::text(format!("{}[{range}]{word}{}", self.selector(), self.modifiers()));
        }
        self.selector_with_modifiers(Some(&range))
    }

    fn over_time(&mut self, depth: usize) -> Tree {
        let extended = self.level.extended_ranges && self.rng.percent(15);
        if extended {
            let (names, word) =
                if self.rng.percent(50) { (ANCHORED, "anchored") } else { (SMOOTHED, "smoothed") };
            let name = self.rng.pick(names);
            let range = self.duration(DURATIONS);
            let selector = self.selector();
            let modifiers = self.modifiers();
            return Tree::text(format!("{name}("))
                .c(Tree::text(format!("{selector}[{range}] {word}{modifiers}")))
                .t(")");
        }
        if self.level.experimental_functions && self.rng.percent(12) {
            if self.rng.percent(15) {
                let [a, b] =
                    [self.rng.pick(&["0.5", "0.1", "0.9", "1", "0"]), self.rng.pick(&["0.5", "0.3", "1.2"])];
                return Tree::text("double_exponential_smoothing(")
                    .c(self.m(depth))
                    .t(format!(", {a}, {b})"));
            }
            let names = if self.level.recent { OVER_TIME_EXPERIMENTAL } else { &OVER_TIME_EXPERIMENTAL[..4] };
            let name = self.rng.pick(names);
            return Tree::text(format!("{name}(")).c(self.m(depth)).t(")");
        }
        match self.rng.below(12) {
            0 => {
                let q = self.rng.pick(QUANTILES);
                Tree::text(format!("quantile_over_time({q}, ")).c(self.m(depth)).t(")")
            }
            1 => Tree::text("predict_linear(").c(self.m(depth)).t(", ").c(self.s(depth)).t(")"),
            _ => {
                let name = self.rng.pick(OVER_TIME);
                Tree::text(format!("{name}(")).c(self.m(depth)).t(")")
            }
        }
    }

    fn math(&mut self, depth: usize) -> Tree {
        if self.level.starts && self.rng.percent(15) {
            let inner = if self.rng.percent(80) { self.selector_with_modifiers(None) } else { self.v(depth) };
            return Tree::text("start_timestamp(").c(inner).t(")");
        }
        match self.rng.below(12) {
            0 => {
                Tree::text("clamp(").c(self.v(depth)).t(", ").c(self.s(depth)).t(", ").c(self.s(depth)).t(")")
            }
            1 => Tree::text("clamp_min(").c(self.v(depth)).t(", ").c(self.s(depth)).t(")"),
            2 => Tree::text("clamp_max(").c(self.v(depth)).t(", ").c(self.s(depth)).t(")"),
            3 => Tree::text("round(").c(self.v(depth)).t(", ").c(self.s(depth)).t(")"),
            4 => Tree::text("round(").c(self.v(depth)).t(")"),
            5 => {
                let name = self.rng.pick(DATES);
                if self.rng.percent(20) {
                    return Tree::text(format!("{name}()"));
                }
                Tree::text(format!("{name}(")).c(self.v(depth)).t(")")
            }
            _ => {
                let name = self.rng.pick(MATH);
                Tree::text(format!("{name}(")).c(self.v(depth)).t(")")
            }
        }
    }

    fn grouping(&mut self) -> String {
        let word = match self.rng.below(4) {
            0 => return String::new(),
            1 | 2 => "by",
            _ => "without",
        };
        let n = self.rng.below(4);
        let labels: Vec<&str> = (0..n).map(|_| self.rng.pick(LABELS)).collect();
        format!(" {word} ({})", labels.join(", "))
    }

    fn aggregation(&mut self, depth: usize) -> Tree {
        let experimental = self.level.experimental_functions && self.rng.percent(12);
        let (name, parameter) = if experimental {
            match self.rng.below(2) {
                0 => ("limitk", Some(Tree::text(self.rng.pick(&["1", "2", "3", "5", "0", "-1", "100"])))),
                _ => {
                    let ratio =
                        self.rng.pick(&["0.1", "0.5", "-0.5", "0.9", "1", "-1", "0", "1.5", "-0.2", "-2"]);
                    ("limit_ratio", Some(Tree::text(ratio)))
                }
            }
        } else {
            match self.rng.below(14) {
                0 => ("topk", Some(self.count(depth))),
                1 => ("bottomk", Some(self.count(depth))),
                2 => ("quantile", Some(Tree::text(self.rng.pick(QUANTILES)))),
                3 => (
                    "count_values",
                    Some(Tree::text(self.rng.pick(&["\"value\"", "\"job\"", "\"a.b\"", "\"__name__\""]))),
                ),
                _ => (self.rng.pick(AGGREGATIONS), None),
            }
        };
        let grouping = self.grouping();
        let after = self.rng.percent(30);
        let mut tree = Tree::text(name);
        if !after {
            tree = tree.t(grouping.clone());
        }
        tree = tree.t("(");
        if let Some(parameter) = parameter {
            tree = tree.c(parameter).t(", ");
        }
        tree = tree.c(self.v(depth)).t(")");
        if after { tree.t(grouping) } else { tree }
    }

    fn count(&mut self, depth: usize) -> Tree {
        match self.rng.below(10) {
            0 => self.s(depth),
            n => Tree::text(["1", "2", "3", "5", "0", "-1", "1e10", "NaN", "2.7", "4"][n]),
        }
    }

    fn binary(&mut self, depth: usize) -> Tree {
        let trim = self.level.recent && self.rng.percent(5);
        let op = match self.rng.below(20) {
            _ if trim => self.rng.pick(TRIMS).to_owned(),
            0..=10 => self.rng.pick(ARITHMETIC).to_owned(),
            11..=15 => {
                let bool = if self.rng.percent(35) { " bool" } else { "" };
                format!("{}{bool}", self.rng.pick(COMPARISON))
            }
            _ => self.rng.pick(SETS).to_owned(),
        };
        if trim {
            return Tree::default().c(self.v(depth)).t(format!(" {op} ")).c(self.s(depth));
        }
        let set = SETS.contains(&op.as_str());
        if !set {
            match self.rng.below(10) {
                0..=2 => return Tree::default().c(self.v(depth)).t(format!(" {op} ")).c(self.s(depth)),
                3 => return Tree::default().c(self.s(depth)).t(format!(" {op} ")).c(self.v(depth)),
                _ => {}
            }
        }
        let matching = self.matching(set);
        let left = self.v(depth);
        // The same on both sides matches most often.
        let right = if self.rng.percent(30) { left.clone() } else { self.v(depth) };
        Tree::default().c(left).t(format!(" {op}{matching} ")).c(right)
    }

    fn matching(&mut self, set: bool) -> String {
        let mut out = String::new();
        let word = match self.rng.below(5) {
            0 | 1 => "",
            2 | 3 => "on",
            _ => "ignoring",
        };
        if !word.is_empty() {
            let n = self.rng.below(4);
            let labels: Vec<&str> = (0..n).map(|_| self.rng.pick(LABELS)).collect();
            out += &format!(" {word} ({})", labels.join(", "));
            if (!set && self.rng.percent(50)) || self.rng.percent(1) {
                let side = self.rng.pick(&["group_left", "group_right"]);
                let more = match self.rng.below(3) {
                    0 => String::new(),
                    1 => "()".into(),
                    _ => format!("({})", self.rng.pick(LABELS)),
                };
                out += &format!(" {side}{more}");
            }
        }
        if self.level.fill && ((!set && self.rng.percent(20)) || self.rng.percent(1)) {
            let value = self.rng.pick(&["0", "1", "-1", "NaN", "Inf", "2.5"]);
            out += &match self.rng.below(4) {
                0 => format!(" fill_left({value})"),
                1 => format!(" fill_right({value})"),
                2 => format!(" fill_left({value}) fill_right(7)"),
                _ => format!(" fill({value})"),
            };
        }
        out
    }

    /// Native histograms, or classic buckets, as vector: raw, over time or summed.
    fn histograms(&mut self, depth: usize) -> Tree {
        let native = self.rng.percent(60);
        let name = self.rng.pick(if native { NATIVE } else { BUCKETS });
        let range = self.rng.pick(DURATIONS);
        let selector = match self.rng.below(4) {
            0 => Tree::text(name),
            1 => Tree::text(format!("{name}{}", self.modifiers())),
            2 => Tree::text(format!("rate({name}[{range}])")),
            _ => {
                let f = self.rng.pick(OVER_TIME);
                Tree::text(format!("{f}({name}[{range}])"))
            }
        };
        match self.rng.below(6) {
            0 => Tree::text("sum by (le) (").c(selector).t(")"),
            1 => Tree::text("sum by (le, job) (").c(selector).t(")"),
            2 => Tree::text("avg by (job) (").c(selector).t(")"),
            3 => self.v(depth),
            _ => selector,
        }
    }

    fn histogram(&mut self, depth: usize) -> Tree {
        let of = self.histograms(depth);
        match self.rng.below(8) {
            0..=2 => {
                let q =
                    if self.rng.percent(90) { Tree::text(self.rng.pick(QUANTILES)) } else { self.s(depth) };
                Tree::text("histogram_quantile(").c(q).t(", ").c(of).t(")")
            }
            3 => {
                let [a, b] = [(); 2]
                    .map(|()| self.rng.pick(&["0", "0.1", "-1", "1", "2.5", "Inf", "-Inf", "NaN", "0.7"]));
                Tree::text(format!("histogram_fraction({a}, {b}, ")).c(of).t(")")
            }
            4 if self.level.experimental_functions && self.level.recent => {
                let list = self.rng.pick(&["0.5", "0.5, 0.9", "0, 1, 0.25", "NaN, 2", "0.5, 0.5"]);
                let label = self.rng.pick(&["\"q\"", "\"job\"", "\"a.b\"", "\"\""]);
                Tree::text("histogram_quantiles(").c(of).t(format!(", {label}, {list})"))
            }
            _ => {
                let name = self.rng.pick(HISTOGRAM);
                Tree::text(format!("{name}(")).c(of).t(")")
            }
        }
    }

    fn labels(&mut self, depth: usize) -> Tree {
        let target = self.rng.pick(&["\"x\"", "\"job\"", "\"__name__\"", "\"a.b\"", "\"instance\"", "\"\""]);
        let source =
            self.rng.pick(&["\"job\"", "\"instance\"", "\"missing\"", "\"__name__\"", "\"label.dot\""]);
        match self.rng.below(6) {
            0..=2 => {
                let replace = self.rng.pick(&[
                    "\"$1\"",
                    "\"a$1b\"",
                    "\"\"",
                    "\"${1}_$0\"",
                    "\"const\"",
                    "\"$name\"",
                    "\"$2\"",
                    "\"$1x\"",
                ]);
                let pattern = self.rng.pick(&[
                    "\"(.*)\"",
                    "\"(a.*)\"",
                    "\"(.)(.*)\"",
                    "\"\"",
                    "\"(?P<name>.+)\"",
                    "\".*:(.*)\"",
                    "\"(\"",
                ]);
                Tree::text("label_replace(")
                    .c(self.v(depth))
                    .t(format!(", {target}, {replace}, {source}, {pattern})"))
            }
            3 | 4 => {
                let other = self.rng.pick(&["", ", \"instance\"", ", \"missing\", \"code\""]);
                let glue = self.rng.pick(&["\"-\"", "\"\""]);
                Tree::text("label_join(").c(self.v(depth)).t(format!(", {target}, {glue}, {source}{other})"))
            }
            _ if self.level.experimental_functions => {
                let name = self.rng.pick(&["sort_by_label", "sort_by_label_desc"]);
                let list =
                    self.rng.pick(&[", \"job\"", ", \"instance\", \"code\"", "", ", \"n\"", ", \"missing\""]);
                Tree::text(format!("{name}(")).c(self.v(depth)).t(format!("{list})"))
            }
            _ => Tree::text("absent(").c(self.v(depth)).t(")"),
        }
    }

    fn info(&mut self, depth: usize) -> Tree {
        let selector = self.rng.pick(&[
            "",
            "",
            ", {version=~\".+\"}",
            ", {__name__=\"build_info\"}",
            ", {__name__=~\".*_info\"}",
            ", {__name__=~\".*_info\", rev=\"abc\"}",
            ", {cluster=\"eu\"}",
            ", {version=\"nope\"}",
            ", {version=~\".*\"}",
        ]);
        Tree::text("info(").c(self.v(depth)).t(format!("{selector})"))
    }
}
