//! Who is never banned: whom the policy names, and who keeps this host on the network and in the
//! operator's hands. This host's own addresses are not among them: anybody can forge those.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use anyhow::Result;
use ipnet::IpNet;
use xdpfw_common::abi::{
    TRUSTED_BY_POLICY, TRUSTED_GATEWAY, TRUSTED_RESOLVER, TRUSTED_SESSION, Trusted as Why,
};

use super::Engine;
use crate::{
    datapath::{Candidate, Generation},
    netlink::{default_gateways, own_addresses},
    policy::Policy,
    system::{authenticated_peers, resolvers},
};

/// What makes somebody trusted, in the words of the output.
const WORDS: [(Why, &str); 4] = [
    (TRUSTED_BY_POLICY, "policy"),
    (TRUSTED_GATEWAY, "gateway"),
    (TRUSTED_RESOLVER, "resolver"),
    (TRUSTED_SESSION, "ssh session"),
];

/// A prefix that is never banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trusted {
    /// Who.
    pub prefix: IpNet,
    why: Why,
}

impl Trusted {
    /// What makes it trusted: `policy`, `gateway`, `resolver`, `ssh session`.
    pub fn why(&self) -> Vec<&'static str> {
        let said = WORDS.iter().filter(|(bit, _)| self.why & bit != 0);
        said.map(|(_, word)| *word).collect()
    }
}

impl fmt::Display for Trusted {
    /// `192.0.2.1/32 (gateway, resolver)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.prefix, self.why().join(", "))
    }
}

/// All who are trusted.
#[derive(Debug, Default)]
pub struct TrustedList {
    of: BTreeMap<IpNet, Why>,
    /// The lengths of the prefixes.
    lengths: BTreeSet<u8>,
}

impl TrustedList {
    /// Those whom a policy names, and those of this host as it is now.
    ///
    /// # Errors
    ///
    /// Netlink does not answer, or `/proc` cannot be read.
    pub fn of(policy: &Policy) -> Result<Self> {
        let mut list = Self::default();
        for prefix in &policy.trusted {
            list.add(*prefix, TRUSTED_BY_POLICY);
        }
        let own: BTreeSet<IpAddr> = own_addresses()?.into_iter().map(|(own, _)| own).collect();
        for (addresses, why) in [
            (default_gateways()?, TRUSTED_GATEWAY),
            (resolvers(), TRUSTED_RESOLVER),
            (authenticated_peers()?, TRUSTED_SESSION),
        ] {
            let others = addresses.into_iter().filter(|address| {
                !address.is_loopback() && !address.is_unspecified() && !own.contains(address)
            });
            for address in others {
                list.add(address.into(), why);
            }
        }
        Ok(list)
    }

    /// Those that a generation goes by.
    fn in_force(generation: &Generation) -> Result<Self> {
        let mut list = Self::default();
        for (prefix, why) in generation.trusted()?.read()? {
            list.add(prefix, why);
        }
        Ok(list)
    }

    fn add(&mut self, prefix: IpNet, why: Why) {
        *self.of.entry(prefix).or_default() |= why;
        self.lengths.insert(prefix.prefix_len());
    }

    /// All of them, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = Trusted> {
        let all = self.of.iter();
        all.map(|(&prefix, &why)| Trusted { prefix, why })
    }

    /// The widest that all of a prefix is in.
    pub fn around(&self, prefix: &IpNet) -> Option<Trusted> {
        let wider = self.lengths.range(..=prefix.prefix_len());
        wider.into_iter().find_map(|&length| {
            let prefix = IpNet::new(prefix.addr(), length).ok()?.trunc();
            let why = *self.of.get(&prefix)?;
            Some(Trusted { prefix, why })
        })
    }

    /// Those that are in a prefix.
    pub fn within(&self, prefix: &IpNet) -> Vec<Trusted> {
        self.iter()
            .filter(|trusted| prefix.contains(&trusted.prefix))
            .collect()
    }

    /// Has a generation go by it.
    fn put_into(&self, generation: &Generation) -> Result<()> {
        let trusted: Vec<(IpNet, Why)> = self.of.iter().map(|(&of, &why)| (of, why)).collect();
        generation.trusted()?.set(&trusted)
    }
}

impl Engine {
    /// Who is trusted: by the generation in force, or, while nothing is filtered, by a policy.
    ///
    /// # Errors
    ///
    /// As for [`TrustedList::of`], or the kernel refuses.
    pub fn trusted(&self, policy: &Policy) -> Result<TrustedList> {
        match self.live() {
            Some(live) => TrustedList::in_force(&live.generation),
            None => TrustedList::of(policy),
        }
    }

    /// The same, looked at anew: routers, resolvers and sessions may be others by now.
    ///
    /// # Errors
    ///
    /// As for [`Engine::trusted`].
    pub fn renew_trust(&self, policy: &Policy) -> Result<TrustedList> {
        let Some(live) = self.live() else {
            return TrustedList::of(policy);
        };
        let list = TrustedList::of(&live.generation.record().policy)?;
        list.put_into(&live.generation)?;
        Ok(list)
    }
}

/// Has a generation, and what is rehearsed behind it, trust whom their policies do.
pub(super) fn entrust(candidate: &Candidate<'_>) -> Result<()> {
    for generation in std::iter::once(candidate.generation().clone()).chain(candidate.shadow()?) {
        TrustedList::of(&generation.record().policy)?.put_into(&generation)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_prefix_around_another_is_found() {
        let mut list = TrustedList::default();
        for (prefix, why) in [
            ("10.0.0.0/8", TRUSTED_BY_POLICY),
            ("10.0.0.1/32", TRUSTED_GATEWAY),
            ("10.0.0.1/32", TRUSTED_RESOLVER),
            ("2001:db8::/48", TRUSTED_BY_POLICY),
        ] {
            list.add(prefix.parse().unwrap(), why);
        }
        let around = |prefix: &str| {
            let around = list.around(&prefix.parse().unwrap());
            around.map(|trusted| trusted.to_string())
        };
        let policy = Some("10.0.0.0/8 (policy)".to_owned());
        assert_eq!(around("10.0.0.1/32"), policy);
        assert_eq!(around("10.9.0.0/16"), policy);
        assert_eq!(around("10.0.0.0/7"), None);
        assert_eq!(around("11.0.0.1/32"), None);
        assert_eq!(
            around("2001:db8::1/128"),
            Some("2001:db8::/48 (policy)".into())
        );
        assert_eq!(around("a00::/8"), None);
        let within = list.within(&"10.0.0.0/24".parse().unwrap());
        assert_eq!(within.len(), 1);
        assert_eq!(within[0].why(), ["gateway", "resolver"]);
    }
}
