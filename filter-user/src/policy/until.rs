//! When a rule ends.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, Zoned,
    fmt::temporal::{DateTimeParser, Pieces},
    tz::{Offset, TimeZone},
};

use crate::duration::Seconds;

/// The moment from which a rule matches nothing any more: a second of the wall clock. The zone is
/// that of whoever said it, and makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Until(Zoned);

impl Until {
    /// The first whole second at which so long has passed since `now`.
    ///
    /// # Errors
    ///
    /// No calendar reaches that far.
    pub fn after(duration: Seconds, now: &Zoned) -> Result<Self, jiff::Error> {
        let end = now.checked_add(duration.duration())?;
        let rest = end.subsec_nanosecond();
        let missing = if rest == 0 { 0 } else { 1_000_000_000 - rest };
        let missing = jiff::SignedDuration::from_nanos(missing.into());
        Ok(Self(end.checked_add(missing)?))
    }

    /// Before any clock was set.
    pub(crate) fn past() -> Self {
        Self(Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC))
    }

    /// So many seconds after 1970, for tests.
    #[cfg(test)]
    pub(crate) fn second(second: i64) -> Self {
        let timestamp = Timestamp::from_second(second).unwrap();
        Self(timestamp.to_zoned(TimeZone::UTC))
    }

    /// The same for every zone.
    pub fn timestamp(&self) -> Timestamp {
        self.0.timestamp()
    }

    /// Whether it has come.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.timestamp() <= now
    }

    /// How long it is until then, in whole seconds, so never more than what [`Until::after`] was
    /// told; at least one, and `None` if it has come.
    pub fn left(&self, now: Timestamp) -> Option<Seconds> {
        if self.is_over(now) {
            return None;
        }
        let left = self.timestamp().duration_since(now).as_secs().max(1);
        Seconds::new(left.unsigned_abs()).ok()
    }

    /// For people: `2026-12-24 18:00:00 +01:00`.
    pub fn in_words(&self) -> impl fmt::Display {
        self.0.strftime("%Y-%m-%d %H:%M:%S %:z")
    }
}

impl FromStr for Until {
    type Err = String;

    /// Reads a date and time with its offset, as in RFC 3339.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let timestamp: Timestamp = DateTimeParser::new().parse_timestamp(text).ok()?;
            let offset = Pieces::parse(text).ok()?.to_numeric_offset();
            let zone = TimeZone::fixed(offset.unwrap_or(Offset::UTC));
            (timestamp.subsec_nanosecond() == 0).then(|| timestamp.to_zoned(zone))
        };
        read().map(Self).ok_or_else(|| {
            format!(
                "`{}` is no time in whole seconds with an offset (say for example \
                 2026-12-24T18:00:00+01:00)",
                text.escape_debug()
            )
        })
    }
}

impl fmt::Display for Until {
    /// As in RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strftime("%Y-%m-%dT%H:%M:%S%:z").fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_written_with_its_offset() {
        for (text, written) in [
            ("2026-12-24T18:00:00+01:00", "2026-12-24T18:00:00+01:00"),
            ("2026-12-24 18:00:00-03:30", "2026-12-24T18:00:00-03:30"),
            ("2026-12-24T18:00:00Z", "2026-12-24T18:00:00+00:00"),
        ] {
            let until: Until = text.parse().unwrap();
            assert_eq!(until.to_string(), written);
        }
        let utc: Until = "2026-12-24T17:00:00Z".parse().unwrap();
        assert_eq!(utc, "2026-12-24T18:00:00+01:00".parse().unwrap());
        assert_eq!(utc.in_words().to_string(), "2026-12-24 17:00:00 +00:00");
    }

    #[test]
    fn other_words_are_no_time() {
        for text in [
            "",
            "tomorrow",
            "2h",
            "2026-12-24",
            "2026-12-24T18:00:00",
            "2026-12-24T18:00:00.5Z",
            "2026-02-30T18:00:00Z",
        ] {
            assert!(text.parse::<Until>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_lasts_at_least_as_long_as_was_said() {
        let now: Timestamp = "2026-12-24T17:00:00.25Z".parse().unwrap();
        let hour = "1h".parse().unwrap();
        let until = Until::after(hour, &now.to_zoned(TimeZone::UTC)).unwrap();
        assert_eq!(until.to_string(), "2026-12-24T18:00:01+00:00");
        let left = |now: &str| until.left(now.parse().unwrap());
        assert_eq!(left("2026-12-24T17:00:00.25Z"), Some(hour));
        assert_eq!(left("2026-12-24T17:00:01.5Z"), "3599s".parse().ok());
        assert_eq!(left("2026-12-24T18:00:00.999Z"), "1s".parse().ok());
        assert_eq!(left("2026-12-24T18:00:01Z"), None);
        assert!(until.is_over("2026-12-24T18:00:01Z".parse().unwrap()));
        assert!(!until.is_over("2026-12-24T18:00:00.999Z".parse().unwrap()));
    }
}
