//! Databases of countries in the form of MaxMind, which DB-IP has, too.

use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};

use super::{NoList, Reading};

/// What stands in front of the metadata, which is at the end.
const MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// How far from the end that may be, in bytes, by the format.
const FAR: usize = 128 << 10;

/// Whether it is a database.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(FAR)..];
    // Lists are text: few bytes are looked at twice.
    let mut starts = tail
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == MARK[0]);
    starts.any(|(start, _)| tail[start..].starts_with(MARK))
}

/// Reads the prefixes of countries.
pub(super) fn read(
    bytes: &[u8],
    countries: &[String],
    reading: &mut Reading,
) -> Result<(), NoList> {
    let damaged = |error: MaxMindDbError| NoList::NoMmdb(error.to_string());
    let reader = Reader::from_source(bytes).map_err(damaged)?;
    let code = [PathElement::Key("country"), PathElement::Key("iso_code")];
    let networks = reader.networks(WithinOptions::default()).map_err(damaged)?;
    for found in networks {
        let found = found.map_err(damaged)?;
        let country: Option<&str> = found.decode_path(&code).map_err(damaged)?;
        if !country.is_some_and(|country| countries.iter().any(|one| one == country)) {
            continue;
        }
        let network = found.network().map_err(damaged)?;
        let net = ipnet::IpNet::new(network.ip(), network.prefix())
            .map_err(|error| NoList::NoMmdb(error.to_string()))?;
        // It has no lines.
        reading.add(net, 0, &net.to_string())?;
    }
    Ok(())
}
