//! What a run says: figures as they come, and at the end each bar with what was measured against it.

/// All bars of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    what: String,
    bound: Bound,
    measured: f64,
    unit: &'static str,
}

/// What a figure must keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
        }
    }
}

impl Report {
    /// A section begins.
    pub(crate) fn section(&self, title: &str) {
        println!("\n== {title}");
    }

    /// A figure that is no bar.
    pub(crate) fn figure(&self, what: &str, figure: &str) {
        println!("{what:<58} {figure}");
    }

    /// A figure with a bar.
    pub(crate) fn bar(&mut self, what: &str, bound: Bound, measured: f64, unit: &'static str) {
        println!("{what:<58} {}", with_unit(measured, unit));
        self.bars.push(Bar { what: what.to_owned(), bound, measured, unit });
    }

    /// Something that cannot be measured here.
    pub(crate) fn skipped(&self, what: &str, why: &str) {
        println!("{what:<58} skipped: {why}");
    }

    /// The end: every bar, met or missed.
    pub(crate) fn print(&self) {
        println!("\n== Bars");
        for Bar { what, bound, measured, unit } in &self.bars {
            let verdict = if bound.holds(*measured) { "met" } else { "MISSED" };
            let (word, value) = match bound {
                Bound::AtLeast(value) => ("at least", value),
                Bound::AtMost(value) => ("at most", value),
            };
            println!(
                "{verdict:<7} {what:<58} {:>12}   {word} {}",
                with_unit(*measured, unit),
                with_unit(*value, unit)
            );
        }
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "" => format!("{value:.2} x"),
        "B" => format!("{value:.0} B"),
        unit => format!("{value:.3} {unit}"),
    }
}
