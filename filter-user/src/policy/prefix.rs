//! The prefixes, interfaces and MAC addresses of a rule, as users write them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};

use super::MacAddress;

/// The word for no restriction.
const ANY: &str = "any";

/// What is wrong with an item of a list: which one it is, and a line that says what
/// would be right.
pub(super) type ItemError = (usize, String);

/// A prefix as users write it: a single address without its length.
pub struct PrefixText<'a>(pub &'a IpNet);

impl fmt::Display for PrefixText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Reads a list of prefixes, each `192.0.2.0/24`, `2001:db8::/32` or a bare address;
/// `any` alone is none, as it restricts nothing.
pub fn parse_prefixes(words: &[&str]) -> Result<Vec<IpNet>, ItemError> {
    list(words, "prefix", parse_prefix)
}

/// Reads a list of interface names; `any` alone is none.
pub(super) fn parse_interfaces(words: &[&str]) -> Result<Vec<String>, ItemError> {
    list(words, "interface", |name| {
        if is_interface_name(name) {
            Ok(name.to_owned())
        } else {
            Err(format!(
                "`{}` is not an interface name",
                name.escape_debug()
            ))
        }
    })
}

/// Reads a list of MAC addresses; `any` alone is none.
pub(super) fn parse_macs(words: &[&str]) -> Result<Vec<MacAddress>, ItemError> {
    list(words, "MAC address", str::parse)
}

/// Reads items that stand in words of their own or are separated by commas.
fn list<T>(
    words: &[&str],
    kind: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ItemError> {
    if words.iter().all(|word| word.trim().is_empty()) {
        return Err((
            0,
            format!("{kind} list is empty (say {ANY}, or leave it out)"),
        ));
    }
    if let [word] = words
        && word.trim().eq_ignore_ascii_case(ANY)
    {
        return Ok(Vec::new());
    }
    let mut items = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        // Separated by blanks, words may have a comma behind them, too.
        let word = word.trim();
        let word = match word.strip_suffix(',') {
            Some(rest) if index + 1 < words.len() => rest,
            _ => word,
        };
        for item in word.split(',').map(str::trim) {
            let wrong = |message| (index, message);
            if item.is_empty() {
                return Err(wrong(format!(
                    "{kind} list `{}` has an empty item (leave it out)",
                    word.escape_debug()
                )));
            }
            if item.eq_ignore_ascii_case(ANY) {
                return Err(wrong(format!(
                    "{ANY} in a {kind} list makes the others meaningless (say {ANY} alone, or leave it out)"
                )));
            }
            items.push(parse(item).map_err(wrong)?);
        }
    }
    Ok(items)
}

fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| not_an_address(text, address))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(length) => prefix_length(text, address, length, longest)?,
    };
    let net = IpNet::new(address, length).map_err(|error| error.to_string())?;
    if let Some(plain) = unmapped(&net) {
        return Err(format!(
            "{text} is IPv4 written as IPv6 (say {})",
            PrefixText(&IpNet::V4(plain))
        ));
    }
    let trunc = net.trunc();
    if trunc.addr() != address {
        return Err(format!(
            "{text} has host bits set (say {trunc} or {address})"
        ));
    }
    Ok(net)
}

/// The length behind the slash; netmasks are answered with theirs.
fn prefix_length(text: &str, address: IpAddr, length: &str, longest: u8) -> Result<u8, String> {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) {
        return length
            .parse()
            .ok()
            .filter(|&length| length <= longest)
            .ok_or_else(|| {
                format!("prefix length {length} is out of range for {family} (0-{longest})")
            });
    }
    if let Ok(mask) = length.parse::<IpAddr>()
        && let Ok(net) = IpNet::with_netmask(address, mask)
    {
        return Err(format!(
            "{text} has a netmask for a prefix length (say {})",
            net.trunc()
        ));
    }
    Err(format!(
        "`{}` has no prefix length (say for example {address}/{longest})",
        text.escape_debug()
    ))
}

/// The IPv4 prefix that is written as a mapped IPv6 one. All of them at once are what
/// they are: IPv6 packets with such addresses, which nobody should send (RFC 6890).
fn unmapped(net: &IpNet) -> Option<Ipv4Net> {
    const BITS: u8 = 96;
    let IpNet::V6(net) = net else {
        return None;
    };
    let length = net.prefix_len().checked_sub(BITS)?;
    if length == 0 {
        return None;
    }
    let net = Ipv4Net::new(net.addr().to_ipv4_mapped()?, length).ok()?;
    Some(net.trunc())
}

fn not_an_address(text: &str, address: &str) -> String {
    if let Some((address, zone)) = address.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return format!(
            "`{}` has a zone (say {address} and --on {})",
            text.escape_debug(),
            zone.escape_debug()
        );
    }
    let is_name = address.contains(|c: char| c.is_ascii_alphabetic())
        && !address.contains(':')
        && address
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_name {
        return format!("`{text}` is a name, and names are never looked up (say its addresses)");
    }
    format!(
        "`{}` is not an address or prefix (say for example 192.0.2.0/24 or 2001:db8::/32)",
        text.escape_debug()
    )
}

/// Longest name of an interface, in bytes (`IFNAMSIZ` in linux/if.h, less the
/// terminating zero).
const INTERFACE_NAME_LEN: usize = 15;

/// Whether the kernel would take this name (`dev_valid_name` in net/core/dev.c), and
/// terminals would: control characters are refused, too.
pub fn is_interface_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= INTERFACE_NAME_LEN
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}
