//! What is on the screen, and what keys do.

mod keys;
mod screens;

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};
use xdpfw_common::{Reason, Transport};

use super::{
    keys::{self as keyboard, Action},
    model::{Model, Sampled, Sampling},
    reading::{Filter, FlowFill, Interface, Notice, Reading, RuleText},
    view::{self, Look},
};
use crate::{datapath::Snapshot, policy::Carried};

/// A model, and what feeds it.
struct Scene {
    model: Model,
    now: Instant,
    /// Seconds that have passed.
    passed: u64,
    notices: Vec<Notice>,
    /// What was heard since the last look.
    packets: Vec<Sampled>,
    ratio: Option<u32>,
    why_not: Option<String>,
}

const COLOURFUL: Look = Look {
    is_colored: true,
    has_blocks: true,
};

impl Scene {
    /// Nothing was read yet.
    fn new() -> Self {
        Self {
            model: Model::new(),
            now: Instant::now(),
            passed: 0,
            notices: Vec::new(),
            packets: Vec::new(),
            ratio: None,
            why_not: None,
        }
    }

    /// A host that is scanned, after some seconds.
    fn busy() -> Self {
        let mut scene = Self::new();
        for _ in 0..12 {
            scene.tick();
        }
        scene
    }

    /// One second later.
    fn tick(&mut self) {
        let filter = self.filter();
        self.read(Some(filter));
    }

    fn read(&mut self, filter: Option<Filter>) {
        let at = Timestamp::UNIX_EPOCH;
        self.model.read(Reading {
            at,
            moment: self.now + Duration::from_secs(self.passed),
            flows: filter.is_some().then_some(FlowFill {
                entries: 12,
                capacity: 294_912,
            }),
            filter,
            sampling: Sampling {
                ratio: self.ratio,
                why_not: self.why_not.clone(),
                packets: std::mem::take(&mut self.packets),
                seconds: 1.0,
            },
        });
        self.passed += 1;
    }

    /// What was counted by now.
    fn filter(&self) -> Filter {
        let time = self.passed;
        // More and more, and less again.
        let telnet = 1000 + 40 * time * time.min(9);
        let drops = [
            (Transport::Tcp, 23, telnet),
            (Transport::Tcp, 3389, 200 * time),
            (Transport::Tcp, 6379, 7),
            (Transport::Udp, 53, 3 * (time / 2)),
            (Transport::Tcp, 48_999, 12_345_678),
        ];
        let dropped = drops.iter().map(|(_, _, packets)| packets).sum();
        Filter {
            generation: 7,
            default: "drop",
            interfaces: vec![
                Interface {
                    name: "eth0".to_owned(),
                    mode: "native",
                },
                Interface {
                    name: "wg0".to_owned(),
                    mode: "generic",
                },
            ],
            since: Timestamp::UNIX_EPOCH,
            counters: Snapshot::of_tests(
                &[
                    (Reason::DefaultDrop, dropped),
                    (Reason::RuleAllow, 320 * time),
                    (Reason::Reply, 1500 * time),
                    (Reason::Malformed, 4),
                ],
                &drops,
                &[320 * time, 5, 0],
            ),
            rules: vec![
                rule("r1", "allow tcp 443 (https)", None),
                rule("r2", "allow tcp 22 --from 192.0.2.0/24 (ssh)", Some("ops")),
                rule(
                    "r3",
                    "deny tcp 25 (smtp)",
                    Some("\u{1b}]0;gone\u{7}\u{202e}"),
                ),
            ],
            notices: self.notices.clone(),
        }
    }

    /// What two sources sent was sampled.
    fn sample(&mut self, ratio: u32) {
        self.ratio = Some(ratio);
        let sources = ["198.51.100.66", "2001:db8:1234:5678:9abc:def0:1234:5678"];
        for (source, (port, many)) in sources.into_iter().zip([(23, 30), (3389, 4)]) {
            for _ in 0..many {
                self.packets.push(Sampled {
                    source: source.parse().unwrap(),
                    carries: Some(Carried::Tcp {
                        local: port,
                        remote: 40_000,
                    }),
                    ratio,
                });
            }
        }
    }

    /// Hits keys: characters, and names in angle brackets.
    fn hit(&mut self, keys: &str) -> Option<Action> {
        let mut done = None;
        let mut left = keys;
        while let Some(first) = left.chars().next() {
            let named = [
                ("<tab>", KeyCode::Tab),
                ("<esc>", KeyCode::Esc),
                ("<enter>", KeyCode::Enter),
                ("<back>", KeyCode::Backspace),
                ("<down>", KeyCode::Down),
            ];
            let named = named.into_iter().find(|(name, _)| left.starts_with(name));
            let (code, length) = match named {
                Some((name, code)) => (code, name.len()),
                None => (KeyCode::Char(first), first.len_utf8()),
            };
            left = &left[length..];
            let key = KeyEvent::new(code, KeyModifiers::NONE);
            done = keyboard::key(&mut self.model, key, &[]);
        }
        done
    }

    fn draw(&mut self, width: u16, height: u16, look: Look) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let model = &mut self.model;
        let drawn = terminal.draw(|frame| view::draw(frame, model, &look));
        drawn.unwrap().buffer.clone()
    }

    /// The lines on a screen of 80 columns and 24 lines.
    fn lines(&mut self) -> Vec<String> {
        text(&self.draw(80, 24, COLOURFUL))
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn rule(id: &str, text: &str, comment: Option<&str>) -> RuleText {
    RuleText {
        id: id.to_owned(),
        text: text.to_owned(),
        comment: comment.map(str::to_owned),
    }
}

/// The lines of a screen, without blanks at their ends.
fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        for x in 0..buffer.area.width {
            line.push_str(buffer[(x, y)].symbol());
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
