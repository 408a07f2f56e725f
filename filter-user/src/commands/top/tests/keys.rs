//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Scene, keyboard};
use crate::commands::top::{
    keys::Action,
    model::{Key, PanelKind, Popup},
};
use xdpfw_common::Transport;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn confirms(text: &str) -> Option<Popup> {
    Some(Popup::Confirm { words: words(text) })
}

/// The ports that are shown, from the top.
fn ports(scene: &mut Scene) -> Vec<u16> {
    let panel = scene.model.panel(PanelKind::Ports);
    let rows = &scene.model.rows().ports;
    let order = panel.order().iter();
    order.map(|&index| rows[index as usize].port).collect()
}

#[test]
fn quitting_is_a_key_away_from_everywhere() {
    let mut scene = Scene::busy();
    assert_eq!(scene.hit("q"), Some(Action::Quit));
    for keys in ["", "?", "<esc>/x", "<esc>a", "nea"] {
        scene.hit(keys);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let done = keyboard::key(&mut scene.model, interrupt, &[]);
        assert_eq!(done, Some(Action::Quit));
    }
}

#[test]
fn rows_are_sorted_by_each_column_both_ways() {
    let mut scene = Scene::busy();
    scene.draw(80, 24, super::COLOURFUL);
    assert_eq!(ports(&mut scene), [23, 3389, 48_999, 53, 6379]);
    scene.hit("s");
    assert_eq!(ports(&mut scene), [48_999, 23, 3389, 53, 6379]);
    scene.hit("s");
    assert_eq!(ports(&mut scene), [23, 3389, 6379, 48_999, 53]);
    scene.hit("r");
    assert_eq!(ports(&mut scene), [53, 48_999, 6379, 3389, 23]);
}

/// Whoever allows a port means the one that was selected, wherever its row went meanwhile.
#[test]
fn what_was_selected_stays_selected() {
    let mut scene = Scene::busy();
    scene.hit("<down>");
    assert_eq!(
        scene.model.selected(),
        Some(Key::Port(Transport::Tcp, 3389))
    );
    scene.hit("s");
    assert_eq!(
        scene.model.selected(),
        Some(Key::Port(Transport::Tcp, 3389))
    );
    scene.tick();
    scene.hit("a");
    assert_eq!(scene.model.popup, confirms("allow tcp 3389"));
}

/// One hit too many runs nothing.
#[test]
fn a_command_runs_after_a_clear_yes_alone() {
    let mut scene = Scene::busy();
    scene.hit("d");
    assert_eq!(scene.model.popup, confirms("deny tcp 23"));
    for keys in ["d", "<enter>", " ", "x"] {
        assert_eq!(scene.hit(keys), None);
        assert_eq!(scene.model.popup, confirms("deny tcp 23"));
    }
    assert_eq!(scene.hit("n"), None);
    assert_eq!(scene.model.popup, None);
    assert_eq!(scene.hit("dy"), Some(Action::Run(words("deny tcp 23"))));
    // It runs once.
    assert_eq!(scene.hit("y"), None);
}

#[test]
fn a_source_is_let_in_with_what_it_sent_and_kept_out_whole() {
    let mut scene = Scene::busy();
    scene.sample(64);
    scene.tick();
    scene.hit("3a");
    let allow = "allow tcp 23 --from 198.51.100.66";
    assert_eq!(scene.model.popup, confirms(allow));
    scene.hit("nd");
    let deny = "deny any --from 198.51.100.66 --first";
    assert_eq!(scene.model.popup, confirms(deny));
}

#[test]
fn what_cannot_be_allowed_is_said() {
    let mut scene = Scene::busy();
    for panel in ["2", "4"] {
        scene.hit(panel);
        scene.hit("a");
        assert_eq!(scene.model.popup, None);
        let said = scene.model.message.clone();
        assert_eq!(said.as_deref(), Some("select a port or a source for that"));
    }
}

#[test]
fn a_filter_leaves_the_rows_that_contain_it() {
    let mut scene = Scene::busy();
    scene.hit("/TEL");
    assert_eq!(ports(&mut scene), [23]);
    assert_eq!(scene.lines()[23], "/TEL");
    // What is typed is no command.
    scene.hit("q<back>");
    scene.hit("<enter>");
    assert_eq!(scene.lines()[23].split(' ').next(), Some("/TEL"));
    scene.hit("<esc>");
    assert_eq!(ports(&mut scene).len(), 5);
    scene.hit("/gone");
    let lines = scene.lines();
    let said = |line: &String| line.contains("nothing contains `gone` (Esc shows all)");
    assert!(lines.iter().any(said), "{lines:?}");
}

#[test]
fn a_frozen_picture_stays_and_can_be_looked_through() {
    let mut scene = Scene::busy();
    let before = scene.lines();
    scene.hit(" ");
    for _ in 0..5 {
        scene.tick();
    }
    let frozen = scene.lines();
    assert_eq!(frozen[1..], before[1..]);
    assert!(frozen[0].ends_with("PAUSED"), "{}", frozen[0]);
    scene.hit("<tab>");
    assert!(scene.lines()[5].starts_with(" reason"));
    scene.hit(" ");
    scene.tick();
    assert_ne!(scene.lines()[2..4], before[2..4]);
}

#[test]
fn pages_go_through_all_rows() {
    let mut scene = Scene::busy();
    scene.draw(40, 10, super::COLOURFUL);
    scene.hit("G");
    let panel = scene.model.panel(PanelKind::Ports);
    assert_eq!((panel.index(), panel.in_sight().end), (4, 5));
    scene.hit("g");
    let panel = scene.model.panel(PanelKind::Ports);
    assert_eq!((panel.index(), panel.in_sight().start), (0, 0));
}

#[test]
fn a_message_stands_for_a_while() {
    let mut scene = Scene::busy();
    scene.hit("4a");
    for _ in 0..4 {
        scene.tick();
        assert!(scene.model.message.is_some());
    }
    scene.tick();
    assert_eq!(scene.model.message, None);
}
