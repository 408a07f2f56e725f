//! What xdpfw should do, written a second time: a reference model that shares no
//! code with the program, and random policies and packets to ask both about.
//!
//! The model is slow and plain on purpose. It reads headers with `etherparse` and
//! walks over the rules one by one; whatever it says is to be found in the
//! documentation, not in the program.
//!
//! ```
//! use xdpfw_model::{Arrival, PacketSource, Policy, judge, random};
//!
//! let mut random = random(1);
//! let policy = Policy::random(&mut random, &["eth0"], (32_768, 60_999));
//! let packets = PacketSource::aimed_at(&policy);
//! let frame = packets.frame(&mut random);
//! let opinion = judge(&policy, &Arrival::ethernet("eth0", &frame));
//! println!("{}\n{opinion:?}", policy.to_toml());
//! ```

mod conversation;
mod history;
mod packet;
mod policy;
mod sample;
mod verdict;

use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;

pub use conversation::{Conversation, Kind, Known, Past};
pub use history::{
    CLOSED_AGE, ECHO_AGE, History, Moment, OTHER_AGE, REFRESH, Sender, Shelf, TCP_AGE, UDP_AGE,
    UNANSWERED_AGE,
};
pub use packet::{Content, Flags, Ip, Message, Packet, Quote};
pub use policy::{Action, Entry, Mac, Policy, Ports, Prefix, Replies, Rule, Types, What};
pub use sample::PacketSource;
pub use verdict::{Arrival, Opinion, Transport, Verdict, judge};

/// The source of everything random: the same on every machine.
pub type Random = Pcg64Mcg;

/// A source of random numbers that a seed decides.
pub fn random(seed: u64) -> Random {
    Pcg64Mcg::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let draw = |seed| {
            let mut random = random(seed);
            let policy = Policy::random(&mut random, &["eth0"], (32_768, 60_999));
            let packets = PacketSource::aimed_at(&policy);
            let frames: Vec<_> = (0..100).map(|_| packets.frame(&mut random)).collect();
            (policy.to_toml(), frames)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
