//! Rules that end: what is open and free before, and what they are to the rules around them.

use xdpfw_common::{
    abi::MAX_ENDS,
    flows::{Carries, Conversation},
    verdict::Lasting,
    wire::{
        ip::{Addresses, Ends},
        tcp::Flags,
    },
};

use super::{cases::shadows, *};

#[test]
fn a_rule_takes_all_packets_of_another_only_if_it_lasts_as_long() {
    for (texts, expected) in [
        (["allow tcp 22 --until 9", "deny tcp 22"], None),
        (["allow tcp 22 --until 9", "allow tcp 22"], None),
        (["allow tcp 22", "deny tcp 22 --until 9"], Some(1)),
        (["allow tcp 22 --until 9", "deny tcp 22 --until 9"], Some(1)),
        (["allow tcp 22 --until 9", "deny tcp 22 --until 8"], Some(1)),
        (["allow tcp 22 --until 8", "deny tcp 22 --until 9"], None),
        (["deny any --until 9", "allow tcp 22 --until 8"], Some(1)),
    ] {
        let by = expected.map(|by| (2, vec![by]));
        assert_eq!(shadows(&texts), Vec::from_iter(by), "{texts:?}");
    }
    // Those in front take turns.
    let turns = ["deny tcp 1-22 --until 9", "deny tcp 22-30", "allow tcp 22"];
    assert_eq!(shadows(&turns), [(3, vec![2])]);
}

#[test]
fn a_port_is_open_but_not_free_for_a_while() {
    let texts = [
        "allow tcp 443 --until 9",
        "allow tcp 80",
        "deny tcp 81 --until 9",
    ];
    for (default, closed, free) in [
        (
            DefaultAction::Drop,
            [false, false, false, true],
            [false, true, false, false],
        ),
        (DefaultAction::Pass, [false; 4], [false, true, false, true]),
    ] {
        let policy = Policy {
            default,
            ..rules(&texts)
        };
        let listed = compiled(&policy).listed;
        let of_each = |holds: &dyn Fn(u16) -> bool| [443, 80, 81, 82].map(holds);
        let is_closed = |port| listed.is_closed(Transport::Tcp, port);
        let is_free = |port| listed.is_free(Transport::Tcp, port);
        assert_eq!(of_each(&is_closed), closed, "{default}");
        assert_eq!(of_each(&is_free), free, "{default}");
    }
}

#[test]
fn rules_admit_what_they_let_in_for_good() {
    let tables = compiled(&rules(&["allow tcp+udp 443 --until 9", "allow tcp+udp 80"]));
    let (before, after) = (
        Simulation::of(&tables),
        Simulation::of(&tables).at(9_000_000_000),
    );
    let addresses = Addresses::V4(Ends {
        remote: &[192, 0, 2, 1],
        local: &[198, 51, 100, 1],
    });
    for (local, carries, lasting, expected) in [
        (80, Carries::Tcp, Lasting::ForGood, [true, true]),
        (80, Carries::Udp, Lasting::ForGood, [true, true]),
        (443, Carries::Tcp, Lasting::ForGood, [false, false]),
        (443, Carries::Tcp, Lasting::ForNow, [true, false]),
        // Of UDP, what is asked from here is recorded with the next datagram.
        (443, Carries::Udp, Lasting::ForGood, [true, false]),
        (81, Carries::Tcp, Lasting::ForNow, [false, false]),
    ] {
        let conversation = Conversation {
            addresses,
            protocol: if carries == Carries::Tcp { 6 } else { 17 },
            remote: 50_000,
            local,
            carries,
            flags: Flags::NONE,
        };
        let packet = conversation.packet(2);
        let admits = [&before, &after].map(|one| one.admits(&packet, lasting));
        assert_eq!(admits, expected, "{local} {carries:?} {lasting:?}");
    }
}

#[test]
fn equal_ends_are_one_and_more_than_the_bound_are_refused() {
    let policy = |ends: usize| {
        let rule = |index| {
            rule(
                index,
                &format!("allow tcp {} --until {}", 1 + index, 1 + index % ends),
            )
        };
        Policy {
            rules: (0..200).map(rule).collect(),
            ..Policy::default()
        }
    };
    let tables = compiled(&policy(MAX_ENDS));
    let seconds = tables.ends.moments.map(|moment| moment / 1_000_000_000);
    assert_eq!(tables.ends.count, MAX_ENDS as u64);
    assert!(seconds.into_iter().eq(1..=MAX_ENDS as u64), "{seconds:?}");

    let many = policy(MAX_ENDS + 1);
    let compile_at = |wall| {
        let clocks = Clocks {
            wall: Timestamp::from_second(wall).unwrap(),
            ..Clocks::BEFORE_ALL
        };
        compile(
            &many,
            &Environment {
                clocks,
                ..environment()
            },
            &slots(&many),
        )
    };
    let error = compile_at(0).err().expect("too many");
    assert_eq!(error, TooComplex::Ends(MAX_ENDS + 1));
    assert!(
        error.message(&many).contains("65 moments, and 64 are"),
        "{error:?}"
    );
    // What has ended does not count.
    assert!(compile_at(1).is_ok());
}
