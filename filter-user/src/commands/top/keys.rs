//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    act::{self, Asked},
    model::{Model, PanelKind, Popup},
};
use crate::policy::Action as RuleAction;

/// What is to be done outside of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Draw everything anew, whatever others wrote on the screen.
    Redraw,
    Explain(Asked),
    /// Run this command.
    Run(Vec<String>),
}

/// Lines that a popup scrolls at once.
const PAGE: u16 = 10;

/// Takes a key. `flags` are what commands get besides their words.
pub(super) fn key(model: &mut Model, key: KeyEvent, flags: &[String]) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if has_control => return Some(Action::Quit),
        KeyCode::Char('l') if has_control => return Some(Action::Redraw),
        _ => {}
    }
    model.message = None;
    if model.popup.is_some() {
        return in_popup(model, key.code);
    }
    if model.is_typing {
        in_filter(model, key);
        return None;
    }
    if has_control {
        return None;
    }
    in_panel(model, key.code, flags)
}

fn in_popup(model: &mut Model, code: KeyCode) -> Option<Action> {
    match model.popup.take()? {
        Popup::Help => None,
        Popup::Confirm { words } => match code {
            KeyCode::Char('y' | 'Y') => {
                let title = act::shown_command(&words);
                model.popup = Some(Popup::Busy { title });
                Some(Action::Run(words))
            }
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                model.say("nothing changed");
                None
            }
            // Whatever else was hit was not meant for this.
            _ => {
                model.popup = Some(Popup::Confirm { words });
                None
            }
        },
        busy @ Popup::Busy { .. } => {
            model.popup = Some(busy);
            None
        }
        Popup::Text {
            title,
            text,
            scrolled,
        } => {
            let scrolled = match code {
                KeyCode::Down | KeyCode::Char('j') => scrolled.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => scrolled.saturating_sub(1),
                KeyCode::PageDown => scrolled.saturating_add(PAGE),
                KeyCode::PageUp => scrolled.saturating_sub(PAGE),
                _ => return None,
            };
            model.popup = Some(Popup::Text {
                title,
                text,
                scrolled,
            });
            None
        }
    }
}

fn in_filter(model: &mut Model, key: KeyEvent) {
    match key.code {
        KeyCode::Enter => model.is_typing = false,
        KeyCode::Esc => {
            model.is_typing = false;
            model.filter.clear();
        }
        KeyCode::Backspace => drop(model.filter.pop()),
        KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            model.filter.clear();
        }
        KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::CONTROL) => model.filter.push(c),
        _ => return,
    }
    model.show_rows();
}

fn in_panel(model: &mut Model, code: KeyCode, flags: &[String]) -> Option<Action> {
    let page = model.focused().page();
    match code {
        KeyCode::Char('q') => return Some(Action::Quit),
        KeyCode::Char('?') | KeyCode::F(1) => model.popup = Some(Popup::Help),
        KeyCode::Char(' ') => model.pause(),
        KeyCode::Char('/') => model.is_typing = true,
        KeyCode::Esc => {
            model.filter.clear();
            model.show_rows();
        }
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => model.focus = model.focus.next(),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
            model.focus = model.focus.previous();
        }
        KeyCode::Char('1') => model.focus = PanelKind::Ports,
        KeyCode::Char('2') => model.focus = PanelKind::Reasons,
        KeyCode::Char('3') => model.focus = PanelKind::Sources,
        KeyCode::Char('4') => model.focus = PanelKind::Rules,
        KeyCode::Down | KeyCode::Char('j') => model.select(1),
        KeyCode::Up | KeyCode::Char('k') => model.select(-1),
        KeyCode::PageDown => model.select(page),
        KeyCode::PageUp => model.select(-page),
        KeyCode::Home | KeyCode::Char('g') => model.focused().select_first(),
        KeyCode::End | KeyCode::Char('G') => model.select(isize::MAX),
        KeyCode::Char('s') => {
            model.focused().sort_by_next();
            model.show_rows();
        }
        KeyCode::Char('r') => {
            let panel = model.focused();
            panel.is_reversed = !panel.is_reversed;
            model.show_rows();
        }
        KeyCode::Char('e') | KeyCode::Enter => {
            let Some(selected) = model.selected() else {
                model.say("no row to explain");
                return None;
            };
            let asked = Asked::about(model, &selected);
            model.popup = Some(Popup::Busy {
                title: asked.title.clone(),
            });
            return Some(Action::Explain(asked));
        }
        KeyCode::Char('a') => ask(model, RuleAction::Allow, flags),
        KeyCode::Char('d') => ask(model, RuleAction::Deny, flags),
        _ => {}
    }
    None
}

/// Asks whether to allow or deny what the selected row is about.
fn ask(model: &mut Model, action: RuleAction, flags: &[String]) {
    let Some(selected) = model.selected() else {
        model.say("no row is selected");
        return;
    };
    match act::command(action, &selected, model.asker(&selected)) {
        Ok(words) => {
            let words = [flags, &words].concat();
            model.popup = Some(Popup::Confirm { words });
        }
        Err(why) => model.say(why),
    }
}
