//! Lengths of time in words.

use std::time::Duration;

/// `3 d 4 h`, `4 h 5 min`, `12 s`: two units at most.
pub(super) fn length(time: Duration) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let parts = units.iter().scan(time.as_secs(), |rest, (length, unit)| {
        let count = *rest / length;
        *rest %= length;
        Some((count, *unit))
    });
    let parts = parts.skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    let words: Vec<String> = parts.map(|(count, unit)| format!("{count} {unit}")).collect();
    if words.is_empty() { "less than a second".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most() {
        let words = |seconds| length(Duration::from_secs(seconds));
        assert_eq!(
            [words(0), words(59), words(3600), words(90_061), words(7_260)],
            ["less than a second", "59 s", "1 h", "1 d 1 h", "2 h 1 min"]
        );
    }
}
