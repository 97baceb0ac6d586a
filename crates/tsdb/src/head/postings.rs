//! The inverted index: which series carry a pair, and which satisfy a list of matchers.

use super::regex_cache::RegexCache;
use super::text::Texts;
use model::{METRIC_NAME, MatchOp, Matcher};
use roaring::RoaringBitmap;
use std::cmp::Ordering;

/// Lists up to this length are plain; longer ones become bitmaps.
const FEW: usize = 32;

/// Sorted references of the series that carry one pair.
#[derive(Default)]
pub(crate) enum Postings {
    #[default]
    None,
    One(u32),
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    fn add(&mut self, series: u32) {
        match self {
            Postings::None => *self = Postings::One(series),
            Postings::One(first) if *first == series => {}
            Postings::One(first) => {
                let mut list = Vec::with_capacity(4);
                list.extend([(*first).min(series), (*first).max(series)]);
                *self = Postings::Few(list);
            }
            Postings::Few(list) => {
                if list.last().is_some_and(|last| *last < series) {
                    list.push(series);
                } else if let Err(at) = list.binary_search(&series) {
                    list.insert(at, series);
                }
                if list.len() > FEW {
                    let bitmap = RoaringBitmap::from_sorted_iter(list.iter().copied()).unwrap_or_default();
                    *self = Postings::Many(Box::new(bitmap));
                }
            }
            Postings::Many(bitmap) => {
                if bitmap.try_push(series).is_err() {
                    bitmap.insert(series);
                }
            }
        }
    }

    /// Adds consecutive references.
    fn add_range(&mut self, from: u32, to: u32) {
        let count = u64::from(to - from) + 1;
        match self {
            _ if count == 1 => self.add(from),
            Postings::Many(bitmap) => {
                bitmap.insert_range(from..=to);
            }
            few if few.len() + count <= FEW as u64 => (from..=to).for_each(|series| few.add(series)),
            few => {
                let mut bitmap = few.to_set();
                bitmap.insert_range(from..=to);
                *few = Postings::Many(Box::new(bitmap));
            }
        }
    }

    /// Takes out the members of a set.
    fn subtract(&mut self, gone: &RoaringBitmap) {
        match self {
            Postings::None => {}
            Postings::One(series) => {
                if gone.contains(*series) {
                    *self = Postings::None;
                }
            }
            Postings::Few(list) => {
                list.retain(|series| !gone.contains(*series));
                if list.is_empty() {
                    *self = Postings::None;
                }
            }
            Postings::Many(bitmap) => {
                **bitmap -= gone;
                bitmap.optimize();
                if bitmap.is_empty() {
                    *self = Postings::None;
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Postings::None)
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Postings::None => 0,
            Postings::One(_) => 1,
            Postings::Few(list) => list.len() as u64,
            Postings::Many(bitmap) => bitmap.len(),
        }
    }

    fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Postings::None => {}
            Postings::One(series) => {
                set.insert(*series);
            }
            Postings::Few(list) => set.extend(list.iter().copied()),
            Postings::Many(bitmap) => *set |= &**bitmap,
        }
    }

    fn to_set(&self) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        self.add_to(&mut set);
        set
    }

    fn keep_in(&self, set: &mut RoaringBitmap) {
        match self {
            Postings::Many(bitmap) => *set &= &**bitmap,
            other => *set &= other.to_set(),
        }
    }

    pub(crate) fn meets(&self, set: &RoaringBitmap) -> bool {
        match self {
            Postings::None => false,
            Postings::One(series) => set.contains(*series),
            Postings::Few(list) => list.iter().any(|series| set.contains(*series)),
            Postings::Many(bitmap) => meet(bitmap, set),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Postings::None | Postings::One(_) => 0,
            Postings::Few(list) => list.capacity() * 4,
            Postings::Many(bitmap) => bitmap.serialized_size() + 64,
        }
    }
}

/// Whether two sets have a member in common. Ends at the first one, and passes over what the other has not: sets that
/// meet mostly do so early.
fn meet(a: &RoaringBitmap, b: &RoaringBitmap) -> bool {
    let (mut left, mut right) = (a.iter(), b.iter());
    let (mut x, mut y) = (left.next(), right.next());
    while let (Some(l), Some(r)) = (x, y) {
        match l.cmp(&r) {
            Ordering::Equal => return true,
            Ordering::Less => {
                left.advance_to(r);
                x = left.next();
            }
            Ordering::Greater => {
                right.advance_to(l);
                y = right.next();
            }
        }
    }
    false
}

/// Series with consecutive references share most pairs: those are noted as ranges, one by position of the pair.
#[derive(Default)]
pub(crate) struct Runs {
    open: Vec<Run>,
    /// Those that have ended.
    ended: Vec<Run>,
    /// First and last of the consecutive series that were noted last.
    series: Option<(u32, u32)>,
}

/// So many that have ended are noted together, pair by pair: each pair is somewhere else in memory.
const ENDED: usize = 1 << 15;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    pair: u32,
    from: u32,
    to: u32,
}

/// Texts, postings by pair id, and the set of all series.
pub(crate) struct Index {
    pub(crate) texts: Texts,
    postings: Vec<Postings>,
    pub(crate) all: RoaringBitmap,
    regexes: RegexCache,
}

impl Index {
    pub(crate) fn new() -> Self {
        Index {
            texts: Texts::new(),
            postings: Vec::new(),
            all: RoaringBitmap::new(),
            regexes: RegexCache::default(),
        }
    }

    /// Notes a series under its pairs.
    #[cfg(test)]
    pub(crate) fn add(&mut self, series: u32, pairs: &[u32]) {
        let mut runs = Runs::default();
        self.add_next(&mut runs, series, pairs);
        self.flush(&mut runs);
    }

    /// Notes a series under its pairs; what it shares with the series before waits in `runs` until
    /// [`Index::flush`].
    pub(crate) fn add_next(&mut self, runs: &mut Runs, series: u32, pairs: &[u32]) {
        match &mut runs.series {
            Some((_, last)) if *last == series.wrapping_sub(1) => *last = series,
            other => {
                let before = other.replace((series, series));
                self.note_series(before);
            }
        }
        for (at, pair) in pairs.iter().enumerate() {
            let fresh = Run { pair: *pair, from: series, to: series };
            match runs.open.get_mut(at) {
                Some(run) if run.pair == *pair && run.to == series.wrapping_sub(1) => run.to = series,
                Some(run) => runs.ended.push(std::mem::replace(run, fresh)),
                None => runs.open.push(fresh),
            }
        }
        if runs.ended.len() >= ENDED {
            self.note(&mut runs.ended);
        }
    }

    /// Notes what waits.
    pub(crate) fn flush(&mut self, runs: &mut Runs) {
        runs.ended.append(&mut runs.open);
        self.note(&mut runs.ended);
        self.note_series(runs.series.take());
    }

    fn note_series(&mut self, run: Option<(u32, u32)>) {
        match run {
            Some((from, to)) if from < to => drop(self.all.insert_range(from..=to)),
            // Mostly it stands behind all others.
            Some((one, _)) if self.all.try_push(one).is_err() => drop(self.all.insert(one)),
            _ => {}
        }
    }

    fn note(&mut self, runs: &mut Vec<Run>) {
        runs.sort_unstable();
        runs.drain(..).for_each(|run| self.add_run(&run));
    }

    fn add_run(&mut self, run: &Run) {
        let at = run.pair as usize;
        if at >= self.postings.len() {
            self.postings.resize_with(self.texts.pair_count().max(at + 1), Postings::default);
        }
        self.postings[at].add_range(run.from, run.to);
    }

    /// Forgets series, which stand in the lists of `pairs` only.
    pub(crate) fn remove(&mut self, gone: &RoaringBitmap, pairs: &RoaringBitmap) {
        self.all -= gone;
        for pair in pairs {
            if let Some(postings) = self.postings.get_mut(pair as usize) {
                postings.subtract(gone);
            }
        }
    }

    /// Whether most texts belong to nobody, so that [`Index::rebuild`] pays.
    pub(crate) fn is_sparse(&self) -> bool {
        let dead = self.postings.iter().filter(|p| p.is_empty()).count();
        dead > 10_000 && dead * 2 > self.postings.len()
    }

    /// Drops texts that no series carries. Pairs get new ids: the answer gives them by old id.
    pub(crate) fn rebuild(&mut self) -> Vec<u32> {
        let mut fresh = Index::new();
        let mut numbers = vec![0; self.postings.len()];
        let lists = std::mem::take(&mut self.postings).into_iter().enumerate();
        for (pair, list) in lists.filter(|(_, list)| !list.is_empty()) {
            let (name, value) = self.texts.label(pair as u32);
            if let Some(id) = fresh.texts.intern(name, value) {
                numbers[pair] = id;
                fresh.postings.push(list);
            }
        }
        fresh.all = std::mem::take(&mut self.all);
        *self = fresh;
        numbers
    }

    pub(crate) fn of_pair(&self, pair: u32) -> &Postings {
        static NOBODY: Postings = Postings::None;
        self.postings.get(pair as usize).unwrap_or(&NOBODY)
    }

    /// Live pairs of a name.
    pub(crate) fn live_pairs(&self, name: u32) -> impl Iterator<Item = u32> {
        self.texts.pairs_of(name).iter().copied().filter(|pair| !self.of_pair(*pair).is_empty())
    }

    /// Live pairs of a name whose values satisfy all these matchers, which are about that name.
    pub(crate) fn pairs_with<'m>(&self, name: u32, own: impl Iterator<Item = &'m Matcher>) -> Vec<u32> {
        let mut pairs: Vec<u32> = self.live_pairs(name).collect();
        for matcher in own {
            if matcher.regexp().is_none() {
                pairs.retain(|pair| matcher.matches(self.texts.value(*pair)));
                continue;
            }
            let matched = self.regexes.matched(&self.texts, name, matcher);
            let (mut matched, positive) = (matched.iter().peekable(), matcher.op == MatchOp::Regex);
            // Both ascend.
            pairs.retain(|pair| {
                while matched.next_if(|known| *known < pair).is_some() {}
                (matched.peek() == Some(&pair)) == positive
            });
        }
        pairs
    }

    /// Whether series of a set that are the same without name, type and unit are the same: all have one name, and
    /// nobody has the others. `pairs` gives the pairs of a series.
    pub(crate) fn is_one_metric(&self, set: &RoaringBitmap, pairs: impl Fn(u32) -> Vec<u32>) -> bool {
        let Some(first) = set.min() else { return true };
        if self.texts.find_name("__type__").or(self.texts.find_name("__unit__")).is_some() {
            return false;
        }
        let Some(name) = self.texts.find_name(METRIC_NAME) else { return true };
        let named = pairs(first).into_iter().find(|pair| self.texts.name_of(*pair) == name);
        named.is_some_and(|pair| match self.of_pair(pair) {
            Postings::Many(bitmap) => set.is_subset(bitmap),
            few => set.is_subset(&few.to_set()),
        })
    }

    /// Series that satisfy all matchers. An absent label counts as empty, so a matcher that accepts the empty
    /// value selects by exclusion.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut wanted: Vec<RoaringBitmap> = Vec::new();
        let mut equal: Vec<u32> = Vec::new();
        let mut excluded: Vec<RoaringBitmap> = Vec::new();
        for matcher in matchers {
            let name = self.texts.find_name(&matcher.name);
            if matcher.matches_empty() {
                if let Some(name) = name {
                    excluded.push(self.union(name, matcher, false));
                }
                continue;
            }
            let Some(name) = name else { return RoaringBitmap::new() };
            if matcher.op == MatchOp::Equal {
                let Some(pair) = self.texts.find_pair(name, &matcher.value) else {
                    return RoaringBitmap::new();
                };
                equal.push(pair);
            } else {
                wanted.push(self.union(name, matcher, true));
            }
        }
        equal.sort_by_key(|pair| self.of_pair(*pair).len());
        wanted.sort_by_key(RoaringBitmap::len);
        let mut lists = wanted.into_iter();
        let mut pairs = equal.into_iter();
        let mut set = match pairs.next() {
            Some(pair) => self.of_pair(pair).to_set(),
            None => match lists.next() {
                Some(list) => list,
                None => self.all.clone(),
            },
        };
        for pair in pairs {
            self.of_pair(pair).keep_in(&mut set);
        }
        for list in lists {
            set &= list;
        }
        for list in excluded {
            set -= list;
        }
        set
    }

    /// Series with a value of `name` that the matcher accepts (`accept`) or refuses.
    fn union(&self, name: u32, matcher: &Matcher, accept: bool) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        let positive = matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
        // Values that satisfy the bare condition, without the negation of `!=` and `!~`.
        if accept == positive {
            let literals: Option<Vec<&str>> = match (matcher.op, matcher.regexp()) {
                (MatchOp::Equal | MatchOp::NotEqual, _) => Some(vec![&matcher.value]),
                (_, Some(re)) => re.set_matches().map(|set| set.iter().map(String::as_str).collect()),
                (_, None) => None,
            };
            if let Some(literals) = literals {
                for value in literals {
                    if let Some(pair) = self.texts.find_pair(name, value) {
                        self.of_pair(pair).add_to(&mut set);
                    }
                }
                return set;
            }
        }
        if matcher.regexp().is_none() {
            for pair in self.live_pairs(name).filter(|p| matcher.matches(self.texts.value(*p)) == accept) {
                self.of_pair(pair).add_to(&mut set);
            }
            return set;
        }
        if accept && matcher.op == MatchOp::Regex && matcher.value == ".+" {
            let pairs = || self.live_pairs(name).map(|pair| self.of_pair(pair));
            // A series has a label once: as many entries as series are all series.
            if pairs().map(|ids| ids.len()).sum::<u64>() == self.all.len() {
                return self.all.clone();
            }
            pairs().for_each(|ids| ids.add_to(&mut set));
            return set;
        }
        let matched = self.regexes.matched(&self.texts, name, matcher);
        if accept == positive {
            matched.iter().for_each(|pair| self.of_pair(*pair).add_to(&mut set));
        } else {
            let mut matched = matched.iter().peekable();
            for pair in self.texts.pairs_of(name) {
                // Both ascend.
                if matched.next_if_eq(&pair).is_none() {
                    self.of_pair(*pair).add_to(&mut set);
                }
            }
        }
        set
    }

    /// Bytes held, for the ledger: texts and postings.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let lists: usize = self.postings.iter().map(Postings::bytes).sum();
        (
            self.texts.bytes(),
            lists + self.postings.capacity() * size_of::<Postings>() + self.all.serialized_size(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::new();
        for series in 1..=200u32 {
            let job = format!("job-{}", series % 4);
            let mut pairs = vec![index.texts.intern("job", &job).unwrap()];
            pairs.push(index.texts.intern("id", &series.to_string()).unwrap());
            if series % 2 == 0 {
                pairs.push(index.texts.intern("even", "yes").unwrap());
            }
            index.add(series, &pairs);
        }
        index
    }

    fn check(op: MatchOp, name: &str, value: &str, keep: impl Fn(u32) -> bool) {
        let matcher = Matcher::new(op, name, value).unwrap();
        let got: Vec<u32> = index().select(std::slice::from_ref(&matcher)).iter().collect();
        let want: Vec<u32> = (1..=200).filter(|s| keep(*s)).collect();
        assert_eq!(got, want, "{matcher}");
    }

    #[test]
    fn matchers_select() {
        check(MatchOp::Equal, "job", "job-1", |s| s % 4 == 1);
        check(MatchOp::Equal, "even", "", |s| s % 2 == 1);
        check(MatchOp::NotEqual, "even", "", |s| s % 2 == 0);
        check(MatchOp::NotEqual, "job", "job-1", |s| s % 4 != 1);
        check(MatchOp::Regex, "job", "job-(1|2)", |s| [1, 2].contains(&(s % 4)));
        check(MatchOp::Regex, "even", "yes|", |_| true);
        check(MatchOp::Regex, "even", ".+", |s| s % 2 == 0);
        check(MatchOp::NotRegex, "even", ".+", |s| s % 2 == 1);
        check(MatchOp::NotRegex, "job", "job-[12]", |s| ![1, 2].contains(&(s % 4)));
        check(MatchOp::Equal, "nope", "x", |_| false);
        check(MatchOp::NotEqual, "nope", "x", |_| true);
        check(MatchOp::Equal, "nope", "", |_| true);
    }

    #[test]
    fn sets_meet() {
        let sets: Vec<RoaringBitmap> = vec![
            RoaringBitmap::new(),
            [7].into_iter().collect(),
            (0..1000).collect(),
            (0..200_000).step_by(3).collect(),
            (1..200_000).step_by(3).collect(),
            (70_000..300_000).collect(),
            (0..300_000).filter(|n| n / 100 % 2 == 0).collect(),
        ];
        for a in &sets {
            for b in &sets {
                assert_eq!(meet(a, b), !a.is_disjoint(b), "{} {}", a.len(), b.len());
            }
        }
    }

    #[test]
    fn values_are_chosen_by_their_own_conditions() {
        let index = index();
        let id = index.texts.find_name("id").unwrap();
        let matcher = |op, value: &str| Matcher::new(op, "id", value).unwrap();
        let cases: [(&[Matcher], usize); 6] = [
            (&[], 200),
            (&[matcher(MatchOp::Regex, "1.")], 10),
            (&[matcher(MatchOp::NotRegex, "1.")], 190),
            (&[matcher(MatchOp::Regex, "1.+"), matcher(MatchOp::NotEqual, "15")], 109),
            (&[matcher(MatchOp::Equal, "15")], 1),
            (&[matcher(MatchOp::Equal, "")], 0),
        ];
        for (own, want) in cases {
            assert_eq!(index.pairs_with(id, own.iter()).len(), want, "{own:?}");
        }
    }

    #[test]
    fn sets_of_one_metric() {
        let mut index = Index::new();
        let mut pairs = Vec::new();
        for series in 1..=90u32 {
            let name = index.texts.intern("__name__", if series <= 60 { "a" } else { "b" }).unwrap();
            let id = index.texts.intern("id", &series.to_string()).unwrap();
            pairs.push(vec![name, id]);
            index.add(series, &[name, id]);
        }
        let of = |series: u32| pairs[series as usize - 1].clone();
        let one = |from: u32, to: u32| index.is_one_metric(&(from..=to).collect(), of);
        assert!(one(1, 60) && one(61, 90) && one(5, 5));
        assert!(!one(60, 61) && !one(1, 90));
        assert!(index.is_one_metric(&RoaringBitmap::new(), of));
        index.texts.intern("__type__", "counter").unwrap();
        assert!(!index.is_one_metric(&(1..=60).collect(), of));
    }

    #[test]
    fn matchers_combine_and_series_go() {
        let mut index = index();
        let matchers = [Matcher::equal("job", "job-2"), Matcher::equal("even", "yes")];
        assert_eq!(index.select(&matchers).len(), 50);
        index.remove(&(1..=100u32).collect(), &(0..index.texts.pair_count() as u32).collect());
        assert_eq!(index.select(&matchers).len(), 25);
        assert_eq!(index.select(&[]).len(), 100);
        let name = index.texts.find_name("id").unwrap();
        assert_eq!(index.live_pairs(name).count(), 100);
    }
}
