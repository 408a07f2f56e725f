//! The Ethernet addresses of a rule, as users write them.

use std::{fmt, str::FromStr};

/// The Ethernet address of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = String;

    /// Six pairs of hexadecimal digits, all with `:` or all with `-` between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let mistake = || {
            let said = text.escape_debug();
            format!("`{said}` is not a MAC address (say for example 02:00:5e:10:00:01)")
        };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut pairs = text.split(separator);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(mistake)?;
            let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            let value = u8::from_str_radix(pair, 16).ok().filter(|_| is_pair);
            *byte = value.ok_or_else(mistake)?;
        }
        if pairs.next().is_some() {
            return Err(mistake());
        }
        if bytes[0] & 1 == 1 {
            return Err(format!(
                "`{text}` is the MAC address of a group, and no packet comes from one (say a \
                 station's)"
            ));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
