//! Figures as people read them.

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things, or things per second where the words around it say so.
    Count,
    /// Hundredths.
    Percent,
    /// Microseconds.
    Micros,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// `value` with three digits and its unit: `312 k`, `0.5 %`, `1.23 ms`, `1.5 KiB`.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Count => scaled(value, &[(1e9, " G"), (1e6, " M"), (1e4, " k"), (1.0, "")], 1e3),
            Self::Percent => format!("{} %", digits(value)),
            Self::Micros => scaled(value, &[(1e6, " s"), (1e3, " ms"), (1.0, " µs")], 1.0),
            Self::Bytes => {
                const KIB: f64 = 1024.0;
                scaled(
                    value,
                    &[(KIB * KIB * KIB, " GiB"), (KIB * KIB, " MiB"), (KIB, " KiB"), (1.0, " B")],
                    1.0,
                )
            }
        }
    }
}

/// In the first of `steps`, the largest first, that `value` reaches. A step of ten thousand divides by `thousand`.
fn scaled(value: f64, steps: &[(f64, &str)], thousand: f64) -> String {
    let fits = steps.iter().find(|(step, _)| value.abs() >= *step).or_else(|| steps.last());
    let Some((step, name)) = fits else { return digits(value) };
    // Numbers below ten thousand are read as they are.
    let divisor = if *step == 1e4 { thousand } else { *step };
    format!("{}{name}", digits(value / divisor))
}

/// Three digits that count, without zeroes behind the point that say nothing.
pub(super) fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number with a thin gap between its thousands: `1 234 567`.
pub(super) fn grouped(value: u64) -> String {
    let plain = value.to_string();
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_unit() {
        let shown = |unit: Unit, values: &[f64]| -> Vec<String> {
            values.iter().map(|value| unit.show(*value)).collect()
        };
        assert_eq!(
            shown(Unit::Count, &[0.0, 7.0, 950.4, 9_999.0, 12_345.0, 312_000.0, 1.5e6]),
            ["0", "7", "950", "9999", "12.3 k", "312 k", "1.5 M"]
        );
        assert_eq!(shown(Unit::Percent, &[0.0, 0.5, 0.0123, 100.0]), ["0 %", "0.5 %", "0.012 %", "100 %"]);
        assert_eq!(
            shown(Unit::Micros, &[0.4, 12.0, 999.0, 1_234.0, 2e6]),
            ["0.4 µs", "12 µs", "999 µs", "1.23 ms", "2 s"]
        );
        assert_eq!(shown(Unit::Bytes, &[160.0, 1_536.0, 12.5 * 1048576.0]), ["160 B", "1.5 KiB", "12.5 MiB"]);
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }
}
