//! Counts distinct ports by the bits that they set (linear counting; Whang, Vander-Zanden, Taylor
//! 1990).

use crate::abi::PORT_BITS;

/// Bits behind the point.
const POINT: u32 = 32;
/// [`PORT_BITS`] as a number with a point.
const ALL: u64 = (PORT_BITS as u64) << POINT;
/// The most ports that bits tell apart: with more, they are all set as likely as not.
const MOST: u32 = 620;

/// How many bits so many distinct ports set, as a rule; rounded up, so that few ports are never taken
/// for more.
pub const fn expected_bits(ports: u32) -> u32 {
    let mut set = 0;
    let mut port = 0;
    while port < ports && port < MOST {
        set = with_another(set);
        port += 1;
    }
    set.div_ceil(1 << POINT) as u32
}

/// How many distinct ports have set so many bits, most likely.
pub const fn likely_ports(bits: u32) -> u32 {
    let bits = (bits as u64) << POINT;
    let (mut set, mut ports) = (0, 0);
    while set < bits && ports < MOST {
        let next = with_another(set);
        // The nearest.
        if next > bits && next - bits > bits - set {
            break;
        }
        set = next;
        ports += 1;
    }
    ports
}

/// The expected number of set bits after one more port: it sets a new one as likely as there are
/// unset ones.
const fn with_another(set: u64) -> u64 {
    set + (ALL - set) / PORT_BITS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_set_as_many_bits_as_the_formula_says() {
        // 128 * (1 - (127 / 128)^n), rounded up.
        for (ports, bits) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (16, 16),
            (20, 19),
            (32, 29),
            (64, 51),
            (256, 111),
        ] {
            assert_eq!(expected_bits(ports), bits, "{ports}");
        }
    }

    #[test]
    fn bits_mean_the_ports_that_set_them() {
        for ports in 0..=300 {
            let likely = likely_ports(expected_bits(ports));
            let error = likely.abs_diff(ports);
            assert!(error <= 1 + ports / 32, "{ports}: {likely}");
        }
        assert_eq!(likely_ports(PORT_BITS), MOST);
    }
}
