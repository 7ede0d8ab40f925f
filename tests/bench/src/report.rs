//! Values into a table: medians with their spread, ratios to the first column, goals.

use std::time::Duration;

/// Every value of one program, in the order in which the rows were first seen.
#[derive(Clone, Debug, Default)]
pub struct Column {
    rows: Vec<(&'static str, Vec<f64>)>,
}

impl Column {
    /// Adds a value to a row.
    pub fn put(&mut self, row: &'static str, value: f64) {
        match self.rows.iter_mut().find(|(name, _)| *name == row) {
            Some((_, values)) => values.push(value),
            None => self.rows.push((row, vec![value])),
        }
    }

    fn of(&self, row: &str) -> Option<Spread> {
        let (_, values) = self.rows.iter().find(|(name, _)| *name == row)?;
        Spread::of(values)
    }
}

/// Programs side by side, with ratios to the first.
pub struct Table<'a> {
    /// What was measured, and how.
    pub title: &'a str,
    /// The programs.
    pub columns: &'a [(&'a str, &'a Column)],
}

impl Table<'_> {
    /// Prints it; rows in the order in which they were first seen, a dash where a program has none.
    pub fn print(&self) {
        println!("\n{}", self.title);
        print!("{:<50}", "");
        for (name, _) in self.columns {
            print!("  {name:<34}");
        }
        println!();
        let mut rows: Vec<&str> = Vec::new();
        for (row, _) in self.columns.iter().flat_map(|(_, column)| &column.rows) {
            if !rows.contains(row) {
                rows.push(row);
            }
        }
        for row in rows {
            print!("{row:<50}");
            let measure = self.columns.first().and_then(|(_, first)| first.of(row));
            for (number, (_, column)) in self.columns.iter().enumerate() {
                let cell = match (column.of(row), measure) {
                    (None, _) => "–".to_owned(),
                    (Some(spread), Some(measure)) if number > 0 && measure.median > 0.0 => {
                        format!("{} ×{:.2}", spread.shown(), spread.median / measure.median)
                    }
                    (Some(spread), _) => spread.shown(),
                };
                print!("  {cell:<34}");
            }
            println!();
        }
    }
}

/// What is promised.
pub struct Goals {
    /// Size of the stripped daemon in bytes.
    pub bytes: f64,
    /// Resident memory when connected and idle, in bytes.
    pub resident: f64,
}

impl Goals {
    fn of(&self, row: &str) -> Option<f64> {
        match row {
            "certrotd, bytes stripped" => Some(self.bytes),
            "idle: resident (VmRSS), bytes" => Some(self.resident),
            _ => None,
        }
    }
}

/// Prints the table; says whether every column meets every goal.
pub fn print(columns: &[Column], goals: &Goals, runs: usize, idle: Duration) -> bool {
    println!("{runs} lives of each, alternating; idle for {} s; median (least … most)", idle.as_secs());
    let Some(first) = columns.first() else { return true };
    let mut met = true;
    for (row, _) in &first.rows {
        print!("{row:<44}");
        let measure = first.of(row);
        for (number, column) in columns.iter().enumerate() {
            let Some(spread) = column.of(row) else { continue };
            let mut cell = spread.shown();
            if let (Some(measure), true) = (&measure, number > 0 && spread.median > 0.0) {
                cell.push_str(&format!(" ×{:.2}", spread.median / measure.median));
            }
            if let Some(goal) = goals.of(row) {
                let good = spread.median <= goal;
                met &= good;
                cell.push_str(&format!(
                    " goal ≤ {}: {}",
                    number_of(goal),
                    if good { "pass" } else { "OVER" }
                ));
            }
            print!("  {cell:<32}");
        }
        println!();
    }
    met
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, least, most })
    }

    fn shown(&self) -> String {
        if self.least == self.most {
            return number_of(self.median);
        }
        format!("{} ({} … {})", number_of(self.median), number_of(self.least), number_of(self.most))
    }
}

/// Whole numbers from a hundred on, one decimal below, thousands apart.
fn number_of(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, least: 1.0, most: 4.0 });
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn numbers_are_short_and_read_in_thousands() {
        assert_eq!(number_of(3_887_528.0), "3 887 528");
        assert_eq!(number_of(0.25), "0.2");
        assert_eq!(number_of(999.6), "1 000");
    }

    #[test]
    fn a_goal_that_is_missed_by_any_column_is_missed() {
        let goals = Goals { bytes: 10.0, resident: 10.0 };
        let column = |bytes| {
            let mut column = Column::default();
            column.put("certrotd, bytes stripped", bytes);
            column
        };
        assert!(print(&[column(10.0)], &goals, 1, Duration::ZERO));
        assert!(!print(&[column(10.0), column(11.0)], &goals, 1, Duration::ZERO));
    }
}
