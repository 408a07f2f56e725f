//! What a rule limits: `--rate 10/m --burst 20 --per 24,64`.

use std::{fmt, str::FromStr, time::Duration};

use crate::duration::Seconds;

/// How often packets may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    unit: Unit,
}

/// In what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }
}

impl Rate {
    /// Packets that a rate may let pass, of whatever time.
    const MOST: u32 = 1_000_000;

    /// That of ufw's `limit`: 6 in 30 seconds.
    pub const UFWS: Self = Self {
        count: 12,
        unit: Unit::Minute,
    };

    /// From one packet to the next.
    pub const fn interval(self) -> Duration {
        Duration::from_nanos(self.unit.seconds() * 1_000_000_000 / self.count as u64)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{}` is not a rate (say for example 10/m; /s, /m and /h are known)",
                text.escape_debug()
            )
        };
        let (count, unit) = text.split_once('/').ok_or_else(form)?;
        let mut units = Unit::ALL.into_iter();
        let unit = units
            .find(|known| known.as_str() == unit)
            .ok_or_else(form)?;
        let count = number(count).ok_or_else(form)?;
        match count {
            1..=Self::MOST => Ok(Self { count, unit }),
            _ => Err(format!("a rate is 1 to {} in a time", Self::MOST)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.as_str())
    }
}

/// Whose packets are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of sources that have so many bits of their address in common.
    Per {
        /// Over IPv4: 1 to 32.
        ipv4: u8,
        /// Over IPv6: 1 to 128.
        ipv6: u8,
    },
    /// Those of everybody.
    Total,
}

impl Scope {
    /// Each IPv4 address, and each IPv6 network: a host has many addresses in its own (RFC 8981).
    pub const DEFAULT: Self = Self::Per { ipv4: 32, ipv6: 64 };
}

impl FromStr for Scope {
    type Err = String;

    /// Reads `24,64`: the lengths of prefixes.
    fn from_str(text: &str) -> Result<Self, String> {
        let lengths = text.split_once(',').and_then(|(ipv4, ipv6)| {
            let ipv4 = number(ipv4.trim()).filter(|len| (1..=32).contains(len))?;
            let ipv6 = number(ipv6.trim()).filter(|len| (1..=128).contains(len))?;
            Some(Self::Per {
                ipv4: ipv4 as u8,
                ipv6: ipv6 as u8,
            })
        });
        lengths.ok_or_else(|| {
            format!(
                "`{}` is not two lengths of prefixes, IPv4's and IPv6's (say for example 24,64)",
                text.escape_debug()
            )
        })
    }
}

/// What a rule limits: of TCP, new connections; of everything else, packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How often.
    pub rate: Rate,
    /// How many at once, of who was quiet before.
    pub burst: u32,
    /// Of whom.
    pub scope: Scope,
    /// How long who is over it is banned; `None` is not at all.
    pub ban: Option<Seconds>,
}

impl Limit {
    const BURST: u32 = 1_000_000;

    /// A limit of these parts. What is left out: as many at once as the rate has in its time, and
    /// [`Scope::DEFAULT`].
    ///
    /// # Errors
    ///
    /// The parts contradict each other, or the burst is beyond what can be counted; the second is the
    /// part.
    pub fn new(
        rate: Rate,
        burst: Option<u32>,
        per: Option<Scope>,
        is_total: bool,
        ban: Option<Seconds>,
    ) -> Result<Self, (LimitPart, String)> {
        let burst = burst.unwrap_or(rate.count);
        if !(1..=Self::BURST).contains(&burst) {
            let message = format!("a burst is 1 to {}", Self::BURST);
            return Err((LimitPart::Burst, message));
        }
        let scope = match (per, is_total) {
            (Some(_), true) => {
                let message = "everybody together, or per prefix (leave one of them out)";
                return Err((LimitPart::Total, message.to_owned()));
            }
            (Some(scope), false) => scope,
            (None, true) => Scope::Total,
            (None, false) => Scope::DEFAULT,
        };
        if scope == Scope::Total && ban.is_some() {
            let message = "whoever comes last would be banned for all (leave out ban or total)";
            return Err((LimitPart::Ban, message.to_owned()));
        }
        Ok(Self {
            rate,
            burst,
            scope,
            ban,
        })
    }

    /// The lengths of prefixes over IPv4 and IPv6, if they are other ones than [`Scope::DEFAULT`].
    pub fn per(&self) -> Option<[u8; 2]> {
        match self.scope {
            Scope::Per { ipv4, ipv6 } if self.scope != Scope::DEFAULT => Some([ipv4, ipv6]),
            _ => None,
        }
    }

    /// The burst, if it is another one than what the rate has.
    pub fn own_burst(&self) -> Option<u32> {
        (self.burst != self.rate.count).then_some(self.burst)
    }
}

impl fmt::Display for Limit {
    /// As on the command line, without what need not be said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--rate {}", self.rate)?;
        if let Some(burst) = self.own_burst() {
            write!(f, " --burst {burst}")?;
        }
        if let Some([ipv4, ipv6]) = self.per() {
            write!(f, " --per {ipv4},{ipv6}")?;
        }
        if self.scope == Scope::Total {
            f.write_str(" --total")?;
        }
        match self.ban {
            Some(ban) => write!(f, " --ban {}", ban.in_one_unit()),
            None => Ok(()),
        }
    }
}

/// A part of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitPart {
    /// How many at once.
    Burst,
    /// Of everybody.
    Total,
    /// How long who is over it is banned.
    Ban,
}

impl LimitPart {
    /// Its name on the command line, behind two dashes, and in the policy file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Total => "total",
            Self::Ban => "ban",
        }
    }
}

/// A number in digits alone.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        for (text, milliseconds) in [("10/s", 100), ("10/m", 6_000), ("1/h", 3_600_000)] {
            assert_eq!(rate(text).to_string(), text);
            assert_eq!(rate(text).interval().as_millis(), milliseconds);
        }
        for text in [
            "", "10", "/m", "10/", "10/d", "-1/s", "+1/s", "1.5/s", "0/s", "10 /m", "٣/s",
        ] {
            text.parse::<Rate>().unwrap_err();
        }
        assert!("1000001/s".parse::<Rate>().is_err());
    }

    #[test]
    fn a_limit_says_what_differs_from_the_default() {
        let whole = |burst, per: Option<&str>, total| {
            let per = per.map(|per| per.parse().unwrap());
            Limit::new(rate("10/m"), burst, per, total, None).unwrap()
        };
        assert_eq!(whole(None, None, false).to_string(), "--rate 10/m");
        assert_eq!(
            whole(Some(10), Some("32,64"), false),
            whole(None, None, false)
        );
        assert_eq!(
            whole(Some(20), Some("24,56"), false).to_string(),
            "--rate 10/m --burst 20 --per 24,56"
        );
        assert_eq!(whole(None, None, true).to_string(), "--rate 10/m --total");
        for (per, total, ban, burst, part) in [
            (Some(Scope::DEFAULT), true, None, None, LimitPart::Total),
            (
                None,
                true,
                Some("1m".parse().unwrap()),
                None,
                LimitPart::Ban,
            ),
            (None, false, None, Some(0), LimitPart::Burst),
            (None, false, None, Some(1_000_001), LimitPart::Burst),
        ] {
            let (wrong, _) = Limit::new(rate("1/s"), burst, per, total, ban).unwrap_err();
            assert_eq!(wrong, part);
        }
    }

    #[test]
    fn prefixes_are_two_lengths() {
        let per = |ipv4, ipv6| Ok(Scope::Per { ipv4, ipv6 });
        assert_eq!("24,64".parse(), per(24, 64));
        assert_eq!("1, 128".parse(), per(1, 128));
        for text in [
            "", "24", "24,64,1", "0,64", "33,64", "24,0", "24,129", "a,b",
        ] {
            text.parse::<Scope>().unwrap_err();
        }
    }
}
