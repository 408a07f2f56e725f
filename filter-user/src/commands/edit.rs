//! Shared by the commands that change the policy: lock, file, commit.

use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::{
    Context, Exit, Failure, confirming::warn_of_doubt, privilege::require_to_change,
    recording::Recording,
};
use crate::{
    datapath::Unsaved,
    duration::Seconds,
    engine::{
        Applied, Engine, Facts, History, PolicyFile, PolicySource as _, Rehearse, changed_facts,
    },
    output::{Difference, ITEMS, Printer},
    policy::{Policy, Rule, RuleId},
    text::clock_time,
};

/// The policy file and the filter, for one command alone.
pub(super) struct Edit {
    pub(super) file: PolicyFile,
    /// Given up with the change: nobody waits for whoever reads what is printed of it.
    engine: Option<Engine>,
    history: History,
    /// The number that the policy has in the history, once it is there.
    number: Option<u64>,
    force: bool,
    /// How long the change is in force, unless it is confirmed.
    lasts: Option<Seconds>,
    /// Whether the policy is that of the file but for an edit.
    is_edit: bool,
    /// What the file changed in what is in force before it was edited here.
    beyond: Option<Difference>,
    /// Whether the policy is the one that is rehearsed.
    is_rehearsed: bool,
}

impl Edit {
    /// Takes the lock, looks at the kernel, reads the policy file. An edit would put in force
    /// whatever is in the file, so that must be what is in force already, unless `force`
    /// says otherwise.
    pub(super) fn begin(context: &Context, force: bool) -> Result<Self> {
        let mut edit = Self::replace(context, |_| context.policy_file(), force)?;
        edit.is_edit = true;
        if let Some(engine) = &edit.engine {
            edit.beyond = beyond(engine, &edit.file);
            if !force {
                refuse_more(&edit, engine, context)?;
            }
        }
        Ok(edit)
    }

    /// The same with another policy in place of the file's, which may be beyond
    /// reading.
    pub(super) fn replace(
        context: &Context,
        read: impl FnOnce(&Engine) -> Result<PolicyFile>,
        force: bool,
    ) -> Result<Self> {
        require_to_change()?;
        let engine = Engine::exclusive()?;
        engine.refuse_while_temporary()?;
        Ok(Self {
            file: read(&engine)?,
            engine: Some(engine),
            history: context.history(),
            number: None,
            force,
            lasts: None,
            is_edit: false,
            beyond: None,
            is_rehearsed: false,
        })
    }

    /// The same with the policy that is rehearsed, to be saved where it was to be saved.
    pub(super) fn accept(context: &Context, force: bool) -> Result<Self> {
        let read = |engine: &Engine| -> Result<PolicyFile> {
            let Unsaved { path, text, .. } = engine.rehearsed()?.unsaved;
            Ok(PolicyFile::replacing(
                &path,
                "the rehearsal",
                text.into_bytes(),
            )?)
        };
        Ok(Self {
            is_rehearsed: true,
            ..Self::replace(context, read, force)?
        })
    }

    /// Says how long the change is in force, unless it is confirmed.
    pub(super) fn lasting(self, lasts: Option<Seconds>) -> Self {
        Self { lasts, ..self }
    }

    /// Saves the file and puts its policy in force, if the filter is up.
    pub(super) fn commit(&mut self, printer: &mut Printer) -> Result<Applied> {
        let engine = self.engine.take().context("a change is made once")?;
        let ended = remove_ended(&mut self.file)?;
        let changed = beyond(&engine, &self.file);
        let facts = match engine.live() {
            // Nothing means anything else than before.
            Some(_) if self.is_edit && changed.is_none() => Facts::Kept,
            _ if self.force => Facts::Renewed,
            _ => Facts::Followed,
        };
        let followed = match (facts, engine.live()) {
            (Facts::Followed | Facts::Renewed, Some(live)) => changed_facts(live)?,
            _ => Vec::new(),
        };
        let candidate = match self.is_rehearsed {
            true => Some(engine.candidate()?.1),
            false => None,
        };
        // Rules that have them already go on without, and `status` says so.
        let had_cookies = engine
            .live()
            .is_some_and(|live| live.generation.record().policy.has_cookies());
        if !had_cookies && let Some(why) = engine.no_cookies(self.file.policy())? {
            return Err(why.into());
        }
        let recording = Recording::begin(self.history.clone(), &engine, &self.file);
        let mut change = engine.change(&self.file).by(recording.change());
        change = change.facts(facts).lasting(self.lasts);
        if let Some(candidate) = &candidate {
            change = change.rehearse(Rehearse::Ends(Some(candidate)));
        }
        let applied = change.guarded(!self.force).commit()?;
        let recorded = recording.end(&engine, &self.file, &applied);
        drop(engine);
        printer.change_is_made();
        self.number = recorded.report(printer);
        if let Some(summary) = &applied.summary {
            printer.detail(|| summary.clone());
        }
        // Done, but for answers that may be lost in silence.
        if let Some(ending) = &applied.ending {
            printer.warning(&ending.to_string());
        }
        for unrecorded in &applied.unrecorded {
            printer.warning(unrecorded);
        }
        report_ended(&ended, printer);
        for fact in &followed {
            printer.note(&format!("{fact}; the rules go by that now"));
        }
        if let Some(beyond) = &self.beyond {
            report_more(beyond, printer);
        }
        warn_of_doubt(&applied, printer);
        if applied.rehearsed_anew {
            printer.note("the rehearsal goes on, and counts anew (see `xdpfw shadow`)");
        }
        Ok(applied)
    }

    /// The number of the policy in the history, once it is there.
    pub(super) const fn number(&self) -> Option<u64> {
        self.number
    }
}

/// The policy in force, or the saved one while nothing is up; and what it is called.
pub(super) fn current(engine: &Engine, context: &Context) -> Result<(Policy, &'static str)> {
    Ok(match engine.live() {
        Some(live) => (live.generation.record().policy.clone(), "what is live"),
        None => (
            context.policy_file()?.policy().clone(),
            "the saved policy (nothing is up)",
        ),
    })
}

/// What a policy file changes in what is in force; `None` if nothing, or nothing is up.
pub(super) fn beyond(engine: &Engine, file: &PolicyFile) -> Option<Difference> {
    let live = engine.live()?;
    // Rules that have ended make no difference, in the file or in force.
    let now = Timestamp::now();
    let in_force = live.generation.record().policy.without_ended(now);
    let difference = Difference::between(&in_force, &file.policy().without_ended(now));
    (!difference.is_empty()).then_some(difference)
}

/// Removes the rules that have ended from a file that is about to be saved; returns them.
pub(super) fn remove_ended(file: &mut PolicyFile) -> Result<Vec<Rule>> {
    if !file.is_changed() {
        return Ok(Vec::new());
    }
    let ended: Vec<Rule> = file.policy().ended(Timestamp::now()).cloned().collect();
    let ids: Vec<RuleId> = ended.iter().map(|rule| rule.id).collect();
    if !ids.is_empty() {
        file.remove(&ids)?;
    }
    Ok(ended)
}

/// Says which rules were removed because they have ended.
pub(super) fn report_ended(ended: &[Rule], printer: &mut Printer) {
    for rule in ended {
        printer.note(&format!(
            "{}  {:.ITEMS$} has ended, and is gone from the policy file",
            rule.id,
            rule.without_end()
        ));
    }
}

/// Says what else went in force with a change.
pub(super) fn report_more(beyond: &Difference, printer: &mut Printer) {
    printer.note("the policy file was not what was in force; these changes of it are live, too:");
    for line in beyond.to_string().lines() {
        printer.note(&format!("  {line}"));
    }
}

/// Refuses another file than the one that the rules in force come from.
pub(super) fn refuse_other_file(engine: &Engine, file: &PolicyFile, path: &Path) -> Result<()> {
    let Some(origin) = engine.other_origin(file) else {
        return Ok(());
    };
    let message = format!(
        "the rules in force come from {}, not from {}; say `--policy {0}`, or --force to replace \
         them",
        origin.display(),
        path.display()
    );
    Err(Failure::new(Exit::Failed, message).into())
}

/// Refuses to put more in force than the edit.
fn refuse_more(edit: &Edit, engine: &Engine, context: &Context) -> Result<()> {
    let path = context.policy_path();
    refuse_other_file(engine, &edit.file, path)?;
    match &edit.beyond {
        Some(beyond) => Err(refusal_of_more(&edit.file, path, beyond)),
        None => Ok(()),
    }
}

/// Why a command is refused that would put more of a file in force than it says.
pub(super) fn refusal_of_more(
    file: &PolicyFile,
    path: &Path,
    beyond: &Difference,
) -> anyhow::Error {
    let path = path.display();
    let (is, remedy) = match file.exists() {
        true => ("differs from what is in force", "say `xdpfw apply` first"),
        false => ("is gone", "put it back"),
    };
    let message = format!(
        "{path} {is}, so this would also change {}; {remedy}, or say --force",
        beyond.in_short()
    );
    Failure::new(Exit::Failed, message).into()
}

/// Where a change took effect, as it follows what was changed: `live on eth0`.
pub(super) fn describe(applied: &Applied) -> String {
    let until = applied.deadline.map_or_else(String::new, |deadline| {
        let until = clock_time(deadline.on_the_wall());
        format!(" until {until} (say `xdpfw confirm` to keep it)")
    });
    match applied.interfaces.as_slice() {
        [] => "saved; not up (say `xdpfw up IFACE`)".to_owned(),
        interfaces => format!("live on {}{until}", interfaces.join(", ")),
    }
}
