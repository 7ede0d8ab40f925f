//! Which filter lies within which: what applications may ask for, and what need not be asked for twice; pure.

/// Says whether everything that `narrow` matches, `wide` matches too (MQTT 3.1.1, 4.7).
pub fn covers(wide: &str, narrow: &str) -> bool {
    if narrow.starts_with('$') && !wide.starts_with('$') {
        return false;
    }
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            // `a/#` is `a` and all below it.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// The fewest filters that cover all of these, in order.
pub fn fewest<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut fewest: Vec<&str> = Vec::new();
    for filter in all {
        if !fewest.iter().any(|wide| covers(wide, filter)) {
            fewest.retain(|narrow| !covers(filter, narrow));
            fewest.push(filter);
        }
    }
    fewest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::topics::matches;

    #[test]
    fn a_filter_covers_what_lies_within_it_and_nothing_else() {
        for (wide, narrow) in [
            ("a/#", "a/#"),
            ("a/#", "a"),
            ("a/#", "a/b/+"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("+/b", "a/b"),
            ("#", "a/#"),
            ("a/+/c/#", "a/b/c"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("a/+", "a/#"),
            ("a/+", "a"),
            ("a/b", "a/+"),
            ("a/+", "a/b/c"),
            ("a/#", "#"),
            ("a/#", "+/b"),
            ("a/#", "ab"),
            ("#", "$aws/x"),
            ("+/x", "$aws/x"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn what_is_covered_matches_nothing_that_the_wide_one_does_not() {
        let levels = ["a", "b", "+", "#"];
        let mut filters: Vec<String> = levels.iter().map(|l| (*l).to_owned()).collect();
        for one in ["a", "b", "+"] {
            for two in levels {
                filters.push(format!("{one}/{two}"));
                filters
                    .extend(levels.iter().filter(|_| two != "#").map(|three| format!("{one}/{two}/{three}")));
            }
        }
        let topics =
            ["a", "b", "c", "a/a", "a/b", "b/a", "c/a", "a/b/a", "a/c/c", "b/b/b", "c/c/c", "a/a/a/a"];
        for wide in &filters {
            for narrow in filters.iter().filter(|narrow| covers(wide, narrow)) {
                for topic in topics.iter().filter(|topic| matches(narrow, topic)) {
                    assert!(matches(wide, topic), "{wide} {narrow} {topic}");
                }
            }
        }
    }

    #[test]
    fn overlapping_filters_are_asked_for_once() {
        assert_eq!(fewest(["a/b", "a/#", "c", "a/+", "c"].into_iter()), ["a/#", "c"]);
        assert_eq!(fewest(["a/+", "+/b"].into_iter()), ["a/+", "+/b"]);
        assert!(fewest(std::iter::empty()).is_empty());
    }
}
