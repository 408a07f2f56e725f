//! A set of prefixes, as small as a million of them should be.

use std::{
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Bytes of an IPv4 prefix in a file.
const BYTES4: usize = 5;
/// The same of IPv6.
const BYTES6: usize = 17;

/// Prefixes, none of which is in another one. Those side by side stay apart: a single address is
/// found faster than a prefix of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet {
    /// Sorted.
    v4: Vec<(u32, u8)>,
    /// Sorted.
    v6: Vec<(u128, u8)>,
}

impl PrefixSet {
    /// Of prefixes in any order, without those that are in others.
    pub fn from_nets(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut set = Self::from_all(nets);
        leave_out_nested(&mut set.v4, net4);
        leave_out_nested(&mut set.v6, net6);
        set
    }

    /// The very same prefixes, even those that are in others.
    pub fn from_all(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut set = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => set.v4.push((net.network().to_bits(), net.prefix_len())),
                IpNet::V6(net) => set.v6.push((net.network().to_bits(), net.prefix_len())),
            }
        }
        set.v4.sort_unstable();
        set.v6.sort_unstable();
        set
    }

    /// How many of IPv4, and of IPv6.
    pub const fn counts(&self) -> [usize; 2] {
        [self.v4.len(), self.v6.len()]
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// How many are single sources to the table of bans, which are addresses of IPv4 and `/64`s of
    /// IPv6; and how many are not.
    pub fn by_table(&self) -> [usize; 2] {
        let single = self.v4.iter().filter(|(_, len)| *len == 32).count()
            + self.v6.iter().filter(|(_, len)| *len == 64).count();
        [single, self.len() - single]
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().map(|&(bits, len)| net4(bits, len));
        v4.chain(self.v6.iter().map(|&(bits, len)| net6(bits, len)))
    }

    /// Whether it has this very prefix.
    pub fn has(&self, net: &IpNet) -> bool {
        match net {
            IpNet::V4(net) => {
                let key = (net.network().to_bits(), net.prefix_len());
                self.v4.binary_search(&key).is_ok()
            }
            IpNet::V6(net) => {
                let key = (net.network().to_bits(), net.prefix_len());
                self.v6.binary_search(&key).is_ok()
            }
        }
    }

    /// The prefix that holds an address.
    pub fn around(&self, address: IpAddr) -> Option<IpNet> {
        // None is in another, so that the last that begins in front of it is the only one.
        match address {
            IpAddr::V4(address) => {
                let place = self
                    .v4
                    .partition_point(|(bits, _)| *bits <= address.to_bits());
                let &(bits, len) = self.v4.get(place.checked_sub(1)?)?;
                let net = net4(bits, len);
                net.contains(&IpAddr::V4(address)).then_some(net)
            }
            IpAddr::V6(address) => {
                let place = self
                    .v6
                    .partition_point(|(bits, _)| *bits <= address.to_bits());
                let &(bits, len) = self.v6.get(place.checked_sub(1)?)?;
                let net = net6(bits, len);
                net.contains(&IpAddr::V6(address)).then_some(net)
            }
        }
    }

    /// Those that another one has not.
    pub fn without(&self, other: &Self) -> Self {
        Self {
            v4: difference(&self.v4, &other.v4),
            v6: difference(&self.v6, &other.v6),
        }
    }

    /// Without some.
    pub fn without_nets(&self, nets: &[IpNet]) -> Self {
        match nets {
            [] => self.clone(),
            nets => self.without(&Self::from_nets(nets.iter().copied())),
        }
    }

    /// How many bytes a file takes for so many of IPv4, and of IPv6.
    pub const fn bytes_of([ipv4, ipv6]: [usize; 2]) -> usize {
        let v4 = ipv4.saturating_mul(BYTES4);
        v4.saturating_add(ipv6.saturating_mul(BYTES6))
    }

    /// As a file has them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::bytes_of(self.counts()));
        for (bits, len) in &self.v4 {
            bytes.extend(bits.to_be_bytes());
            bytes.push(*len);
        }
        for (bits, len) in &self.v6 {
            bytes.extend(bits.to_be_bytes());
            bytes.push(*len);
        }
        bytes
    }

    /// Reads what [`PrefixSet::to_bytes`] wrote of so many of IPv4; `None` if it did not.
    pub fn from_bytes(bytes: &[u8], ipv4: usize) -> Option<Self> {
        let (v4, v6) = bytes.split_at_checked(ipv4.checked_mul(BYTES4)?)?;
        let v4 = v4.as_chunks::<BYTES4>().0.iter();
        let (v6, []) = v6.as_chunks::<BYTES6>() else {
            return None;
        };
        let set = Self {
            v4: v4
                .map(|&[a, b, c, d, len]| (u32::from_be_bytes([a, b, c, d]), len))
                .collect(),
            v6: v6
                .iter()
                .map(|[bits @ .., len]| (u128::from_be_bytes(*bits), *len))
                .collect(),
        };
        let is_sound = set.v4.is_sorted()
            && set.v6.is_sorted()
            && set.v4.iter().all(|(_, len)| *len <= 32)
            && set.v6.iter().all(|(_, len)| *len <= 128);
        is_sound.then_some(set)
    }
}

/// Leaves out of a sorted list what is in others: of those that begin alike, wider ones come first.
fn leave_out_nested<T: Copy>(sorted: &mut Vec<(T, u8)>, net: impl Fn(T, u8) -> IpNet) {
    let mut last: Option<IpNet> = None;
    sorted.retain(|&(bits, len)| {
        let one = net(bits, len);
        let is_inside = last.is_some_and(|wider| wider.contains(&one));
        if !is_inside {
            last = Some(one);
        }
        !is_inside
    });
}

fn net4(bits: u32, len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), len))
}

fn net6(bits: u128, len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), len))
}

/// What one sorted list has and another has not.
fn difference<T: Ord + Copy>(one: &[T], other: &[T]) -> Vec<T> {
    let mut others = other.iter().peekable();
    let mut found = Vec::new();
    for item in one {
        while others.next_if(|other| *other < item).is_some() {}
        match others.peek().map(|other| (*other).cmp(item)) {
            Some(Ordering::Equal) => {}
            _ => found.push(*item),
        }
    }
    found
}
