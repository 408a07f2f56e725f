//! The reasons for a verdict: each has a counter, and a word that every output uses.

use core::fmt;

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The packet goes on to the kernel's network stack.
    Pass,
    /// The packet ends in the driver.
    Drop,
    /// The driver sends an answer in its place.
    Answer,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Drop, Self::Answer];

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Answer => "answered",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $slot:literal, $verdict:ident, $word:literal;)+) => {
        /// Why a packet got its verdict. The discriminant is the counter's slot in
        /// the totals, the `Display` is the user's word.
        ///
        /// Where one word can go either way (`default`, `rule`, `fragment`), each
        /// way has a slot of its own, so that no counter changes its meaning when
        /// the policy does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])* $variant = $slot,)+
        }

        impl Reason {
            /// Every reason, in slot order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The user's word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What happens to a packet judged for this reason.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)+ }
            }
        }
    };
}

reasons! {
    /// No rule matched and the policy's default is to drop.
    DefaultDrop = 0, Drop, "default";
    /// No rule matched and the policy's default is to pass.
    DefaultPass = 1, Pass, "default";
    /// An `allow` rule matched.
    RuleAllow = 2, Pass, "rule";
    /// A `deny` rule matched.
    RuleDeny = 3, Drop, "rule";
    /// No rule allows the packet, and it answers what this host, or one that it forwards
    /// for, sent.
    Reply = 4, Pass, "reply";
    /// A DHCP server's answer to this host's client (RFC 2131: ports 67 to 68),
    /// which no socket look-up can find: clients listen on raw sockets.
    DhcpClient = 5, Pass, "dhcp-client";
    /// A non-initial IP fragment for which no rule decides, since it has no ports, under
    /// `fragments = "pass"`.
    FragmentPass = 6, Pass, "fragment";
    /// The same under `fragments = "drop"`.
    FragmentDrop = 7, Drop, "fragment";
    /// Headers that are cut short or contradict each other.
    Malformed = 8, Drop, "malformed";
    /// TCP flags that no stack sends: none at all, SYN with FIN or RST, FIN
    /// without ACK.
    BadFlags = 9, Drop, "bad-flags";
    /// More VLAN tags than the filter looks behind.
    VlanDepth = 10, Drop, "vlan-depth";
    /// Address resolution (RFC 826), without which IPv4 stops working.
    Arp = 11, Pass, "arp";
    /// An ICMP error (RFC 792, RFC 4443) about a packet that left from here: without them,
    /// path MTU discovery and the host's own connections fail in silence.
    IcmpError = 12, Pass, "icmp-error";
    /// IPv6 neighbour and router discovery (RFC 4861), without which IPv6 stops
    /// working within minutes.
    NeighbourDiscovery = 13, Pass, "neighbour-discovery";
    /// Multicast listener discovery (RFC 2710, RFC 3810), without which switches stop
    /// delivering neighbour discovery.
    Mld = 14, Pass, "mld";
    /// A frame that carries neither IP nor ARP, under `non_ip = "pass"` or because the link
    /// needs it.
    NonIpPass = 15, Pass, "non-ip";
    /// Group management of IPv4 (RFC 3376), without which switches stop delivering
    /// multicast.
    Igmp = 16, Pass, "igmp";
    /// A frame that carries neither IP nor ARP, under `non_ip = "drop"`.
    NonIpDrop = 17, Drop, "non-ip";
    /// Everything passes for a while, as the operator said.
    Bypass = 18, Pass, "bypass";
    /// The program that should judge is gone, which no command of ours does.
    NoProgram = 19, Pass, "no-program";
    /// A rule or the default would let the packet in, and its source is banned.
    Ban = 20, Drop, "ban";
    /// A `limit` rule would let the packet in, and its source has had its share.
    Limit = 21, Drop, "limit";
    /// A rule lets the new connection in, and answers it with a SYN cookie.
    SynCookie = 22, Answer, "syn-cookie";
    /// A rule that answers with SYN cookies would let the packet in, but it belongs to no connection and
    /// brings none of them.
    BadCookie = 23, Drop, "bad-cookie";
}

impl Reason {
    /// Slots that the totals reserve: a power of two above every discriminant, so that a
    /// mask is all the verifier needs to see the index in bounds. More than are taken, so
    /// that a new reason changes no layout.
    pub const SLOTS: usize = 32;

    /// Where this reason is counted in the totals.
    #[inline(always)]
    pub const fn slot(self) -> usize {
        self as usize & (Self::SLOTS - 1)
    }
}

const _: () = {
    assert!(Reason::SLOTS.is_power_of_two());
    let mut i = 0;
    while i < Reason::ALL.len() {
        // A slot is its place in `ALL`: no gap, no slot used twice.
        assert!(Reason::ALL[i].slot() == i);
        i += 1;
    }
};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
