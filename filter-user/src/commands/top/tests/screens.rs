//! Whole screens, each in a file below `screens`. `XDPFW_SCREENS=overwrite` writes them anew.

use std::{env, fs, path::Path};

use ratatui::style::{Color, Modifier};

use super::{COLOURFUL, Look, Scene, text};
use crate::commands::top::{model::Popup, reading::Notice};

/// Asserts that a screen is as its file says.
#[track_caller]
fn assert_screen(name: &str, scene: &mut Scene, (width, height): (u16, u16), look: Look) {
    let shown = text(&scene.draw(width, height, look));
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/commands/top/tests/screens")
        .join(format!("{name}.txt"));
    if env::var_os("XDPFW_SCREENS").is_some_and(|value| value == "overwrite") {
        fs::write(&file, shown).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert!(shown == expected, "{name} is not\n{expected}but\n{shown}");
}

const PLAIN: (u16, u16) = (80, 24);

#[test]
fn every_panel_fills_eighty_columns() {
    let mut scene = Scene::busy();
    scene.sample(64);
    scene.tick();
    for (key, name) in [
        ("1", "ports"),
        ("2", "reasons"),
        ("3", "sources"),
        ("4", "rules"),
    ] {
        scene.hit(key);
        assert_screen(name, &mut scene, PLAIN, COLOURFUL);
    }
}

#[test]
fn all_panels_fit_a_large_screen() {
    let mut scene = Scene::busy();
    scene.sample(64);
    scene.tick();
    assert_screen("large", &mut scene, (120, 40), COLOURFUL);
}

#[test]
fn little_room_is_used_and_too_little_is_said() {
    let mut scene = Scene::busy();
    assert_screen("little", &mut scene, (40, 10), COLOURFUL);
    assert_screen("too-little", &mut scene, (39, 10), COLOURFUL);
    for (width, height) in [(1, 1), (3, 2), (40, 9), (200, 9), (109, 100), (300, 100)] {
        for keys in ["", "?", "<esc>a", "<esc>4"] {
            scene.hit(keys);
            scene.draw(width, height, COLOURFUL);
        }
        scene.hit("n<esc>1");
    }
}

#[test]
fn what_is_in_front_is_whole() {
    let mut scene = Scene::busy();
    scene.hit("?");
    assert_screen("help", &mut scene, PLAIN, COLOURFUL);
    scene.hit("<esc>a");
    assert_screen("confirm", &mut scene, PLAIN, COLOURFUL);
    scene.hit("ne");
    assert_screen("busy", &mut scene, PLAIN, COLOURFUL);
    scene.model.popup = Some(Popup::Text {
        title: "a packet to tcp 23".to_owned(),
        text: "drop  default    tcp 198.51.100.66:40000 -> 192.0.2.1:23 [S] on eth0\n      \
               r2 is for tcp 23, but from 192.0.2.0/24, 198.51.100.0/26, 203.0.113.0/24 and 12 \
               more alone\n      no other rule is for it\n      default drop\nto let it pass, say \
               `xdpfw allow tcp 23 --from 198.51.100.66`\n"
            .to_owned(),
        scrolled: 0,
    });
    assert_screen("explained", &mut scene, PLAIN, COLOURFUL);
    let text = (1..=40).map(|line| format!("line {line}\n")).collect();
    scene.model.popup = Some(Popup::Text {
        title: "much".to_owned(),
        text,
        scrolled: 0,
    });
    for _ in 0..100 {
        scene.hit("j");
        scene.draw(80, 24, COLOURFUL);
    }
    assert_screen("scrolled", &mut scene, PLAIN, COLOURFUL);
}

#[test]
fn what_is_not_as_every_day_is_said() {
    let mut scene = Scene::new();
    let notice = |kind, seconds_left, differences| Notice {
        kind,
        seconds_left,
        differences,
    };
    scene.notices = vec![
        notice("bypass", Some(299), None),
        notice("panic", Some(4000), None),
        notice("pending", Some(42), None),
        notice("fallback", None, None),
        notice("rehearsal", None, Some(1234)),
    ];
    scene.why_not = Some("four listen already".to_owned());
    scene.tick();
    scene.tick();
    scene.hit("3");
    assert_screen("notices", &mut scene, PLAIN, COLOURFUL);
    scene.notices.clear();
    scene.tick();
    scene.hit(" ");
    scene.tick();
    assert_screen("paused", &mut scene, PLAIN, COLOURFUL);
}

#[test]
fn a_filter_that_goes_down_is_seen_and_so_is_one_that_comes_up() {
    let mut scene = Scene::busy();
    scene.read(None);
    assert_screen("down", &mut scene, PLAIN, COLOURFUL);
    // Counters that were down begin anew.
    scene.tick();
    assert!(scene.lines()[1].contains("in –"), "{:?}", scene.lines());
    scene.tick();
    assert!(scene.lines()[1].contains("in 2,"), "{:?}", scene.lines());
}

#[test]
fn ascii_is_enough() {
    let mut scene = Scene::busy();
    scene.sample(64);
    scene.tick();
    let look = Look {
        has_blocks: false,
        ..COLOURFUL
    };
    assert_screen("ascii", &mut scene, PLAIN, look);
    scene.hit("?");
    assert!(text(&scene.draw(120, 40, look)).is_ascii());
}

#[test]
fn there_are_sixteen_colours_or_none() {
    let mut scene = Scene::busy();
    scene.notices.push(Notice {
        kind: "bypass",
        seconds_left: Some(1),
        differences: None,
    });
    scene.sample(64);
    scene.tick();
    let basic = [
        Color::Reset,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Cyan,
    ];
    let colorless = Look {
        is_colored: false,
        ..COLOURFUL
    };
    for keys in ["", "2", "3", "4", "?"] {
        scene.hit(keys);
        for (width, height) in [(80, 24), (120, 40)] {
            let colored = scene.draw(width, height, COLOURFUL);
            assert!(colored.content.iter().any(|cell| cell.fg != Color::Reset));
            for cell in &colored.content {
                assert!(basic.contains(&cell.fg) && cell.bg == Color::Reset);
            }
            let plain = scene.draw(width, height, colorless);
            for cell in &plain.content {
                assert!(cell.fg == Color::Reset && cell.bg == Color::Reset);
            }
            // The same words, told apart by attributes.
            assert_eq!(text(&plain), text(&colored));
            let has = |modifier| {
                plain
                    .content
                    .iter()
                    .any(|cell| cell.modifier.contains(modifier))
            };
            assert!(has(Modifier::REVERSED) && has(Modifier::BOLD));
        }
    }
}

/// A comment is what somebody wrote who may not be the one who looks.
#[test]
fn nothing_from_outside_acts_on_the_terminal() {
    let mut scene = Scene::busy();
    scene.hit("4");
    let shown = text(&scene.draw(80, 24, COLOURFUL));
    assert!(shown.contains("# \\u{1b}]0;gone\\u{7}\\u{"), "{shown}");
    for popup in [
        Popup::Busy {
            title: "\u{1b}[2J".to_owned(),
        },
        Popup::Text {
            title: "\u{9b}2J".to_owned(),
            text: "\u{1b}[2J\u{7}".to_owned(),
            scrolled: 0,
        },
    ] {
        scene.model.popup = Some(popup);
        scene.model.message = Some("\u{1b}[2J".to_owned());
        scene.model.filter = "\u{1b}[2J".to_owned();
        let shown = text(&scene.draw(80, 24, COLOURFUL));
        assert!(
            !shown.contains(|c: char| c != '\n' && c.is_control()),
            "{shown:?}"
        );
    }
}
