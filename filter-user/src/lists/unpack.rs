//! Unpacks what is packed with gzip, up to a limit.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::NoList;

/// Bytes of a list at most, unpacked.
pub const MAX_UNPACKED: usize = 256 << 20;
/// What stands in front of what gzip has packed (RFC 1952).
const MAGIC: &[u8] = b"\x1f\x8b";

/// What is in it, if it is packed; else it as it is.
pub(super) fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, NoList> {
    if !bytes.starts_with(MAGIC) {
        return match bytes.len() > MAX_UNPACKED {
            true => Err(NoList::Long),
            false => Ok(bytes),
        };
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes.as_slice())
        .take(MAX_UNPACKED as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(NoList::Packed)?;
    match unpacked.len() > MAX_UNPACKED {
        true => Err(NoList::Long),
        false => Ok(unpacked),
    }
}
