//! Writes numbers: three digits that count, thousands in groups.

/// A number of any size.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "−" } else { "" };
    match size {
        _ if size.is_nan() => "–".into(),
        _ if size.is_infinite() => format!("{sign}∞"),
        // From here on, what is rounded up to the next size is written in its manner.
        999.5.. => format!("{sign}{}", grouped(size.round() as u64)),
        99.95.. => format!("{sign}{size:.0}"),
        9.995.. => format!("{sign}{size:.1}"),
        0.0995.. => format!("{sign}{size:.2}"),
        _ if size < 0.0005 => "0".into(),
        _ => format!("{sign}{size:.3}"),
    }
}

/// A difference, with its sign.
pub(super) fn difference(value: f64) -> String {
    let sign = if value >= 0.0 { "+" } else { "" };
    format!("{sign}{}", number(value))
}

/// A ratio that is held against a bound: where it is close to one, a thousandth more or
/// less may matter.
pub(super) fn ratio(value: f64) -> String {
    match value {
        0.0005..1.9995 => format!("{value:.3}"),
        _ => number(value),
    }
}

/// A change as a percentage: 0.1 is +10 %.
pub(super) fn percent(change: f64) -> String {
    let sign = match change {
        ..-0.0005 => "−",
        0.0005.. => "+",
        _ => "",
    };
    format!("{sign}{:.1} %", change.abs() * 100.0)
}

fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.012_34, "0.012"),
            (0.5, "0.50"),
            (6.7, "6.70"),
            (9.996, "10.0"),
            (45.67, "45.7"),
            (99.97, "100"),
            (152.4, "152"),
            (999.9, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-0.3, "−0.30"),
            (f64::NAN, "–"),
            (f64::INFINITY, "∞"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(difference(6.4), "+6.40");
        assert_eq!(difference(-12.0), "−12.0");
        assert_eq!(ratio(0.9712), "0.971");
        assert_eq!(ratio(12.0), "12.0");
        assert_eq!(percent(0.1234), "+12.3 %");
        assert_eq!(percent(-0.05), "−5.0 %");
        assert_eq!(percent(0.0), "0.0 %");
    }
}
