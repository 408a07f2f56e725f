//! Rules for an interface that has members, such as a bond.

use super::*;

#[test]
fn a_member_has_the_rules_of_its_bond_beside_its_own() {
    let policy = rules(&[
        "allow tcp 443 --on bond0",
        "allow tcp 22 --on eth0",
        "allow tcp 80 --on gone",
    ]);
    let numbers = [("bond0", 9), ("bond0", 2), ("bond0", 3), ("eth0", 2)];
    let environment = Environment {
        interfaces: numbers
            .map(|(name, number)| (name.to_owned(), number))
            .to_vec(),
        ..environment()
    };
    let tables = compile(&policy, &environment, &slots(&policy)).unwrap();
    assert_unique(&tables.interfaces);
    let simulation = Simulation::of(&tables);
    for (interface, open) in [
        (9, &[443][..]),
        (2, &[22, 443]),
        (3, &[443]),
        // Another interface altogether.
        (4, &[]),
    ] {
        for port in [22, 80, 443] {
            let packet = cases::tcp("192.0.2.1", port);
            let reason = simulation.judge(&frame(&packet)[..], interface).reason();
            let is_open = reason == Reason::RuleAllow;
            assert_eq!(is_open, open.contains(&port), "{port} on {interface}");
        }
    }
}
