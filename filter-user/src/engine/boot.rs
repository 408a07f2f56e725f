//! What is put in force at boot, be the policy file as it may: never nothing.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::{
    Engine, Facts, History, InForce, Join, Joined, PolicyFile, PolicySource,
    egress::records_answers, source::Saving, undo::Undo,
};
use crate::{
    datapath::Store,
    netlink::interfaces,
    policy::{Action, InterfaceList, Match, MatchSpec, Policy, Rule, RuleId},
    system::Place,
};

/// The service that an operator who has left no trace is taken to come by.
const SSH: &str = "22";

/// A policy that is put in force where the policy file cannot be. No file is touched.
#[derive(Clone, Debug)]
pub struct Fallback {
    policy: Policy,
    origin: PathBuf,
    text: String,
}

impl Fallback {
    /// What to try, one after the other, where the policy file at `path` cannot be put in force:
    /// the last policy that was, then one that lets in what the last operator used. `failed` is
    /// what the file holds, if it is a policy; `why` is what is wrong, in part of a line.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub fn of(
        history: &History,
        path: &Path,
        failed: Option<&PolicyFile>,
        why: &str,
    ) -> Result<Vec<Self>> {
        let origin = Place::find(path).map_or_else(|_| path.to_owned(), |place| place.path());
        let fallback = |policy, what: &str| Self {
            policy,
            origin: origin.clone(),
            text: format!("{what} is in force instead of the policy file ({why})"),
        };
        let mut fallbacks = Vec::new();
        if let Some((number, policy)) = last_policy(history)
            && failed.is_none_or(|failed| *failed.policy() != policy)
        {
            let what = format!("policy {number} of the history");
            fallbacks.push(fallback(policy, &what));
        }
        let way_in = WayIn::find(history, failed)?;
        fallbacks.push(fallback(way_in.policy()?, &way_in.what()));
        Ok(fallbacks)
    }

    /// What is in force, and why, in a line.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PolicySource for Fallback {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn origin(&self) -> Option<PathBuf> {
        Some(self.origin.clone())
    }

    fn fallback(&self) -> Option<&str> {
        Some(&self.text)
    }

    fn is_changed(&self) -> bool {
        false
    }

    fn prepare(&self) -> Result<Option<Saving<'_>>> {
        Ok(None)
    }
}

/// Whether a policy that is for no interface may not be what the operator wants: there is no file,
/// which every installation has, or the last policy of the history was for some.
pub fn was_emptied(file: &PolicyFile, history: &History) -> bool {
    file.policy().interfaces.is_empty() && (!file.exists() || last_policy(history).is_some())
}

/// The last policy of the history with its number, if it can be read and is for some interfaces.
fn last_policy(history: &History) -> Option<(u64, Policy)> {
    let number = *history.numbers().ok()?.last()?;
    let policy = history.read(number).ok()?.document().ok()?.policy().clone();
    (!policy.interfaces.is_empty()).then_some((number, policy))
}

/// By which way the last operator came in, as far as the history tells.
struct WayIn {
    interfaces: InterfaceList,
    /// The address, and the port of this host.
    session: Option<(String, u16)>,
}

impl WayIn {
    fn find(history: &History, failed: Option<&PolicyFile>) -> Result<Self> {
        let mut way_in = Self {
            interfaces: InterfaceList::default(),
            session: None,
        };
        // One that cannot be read says nothing.
        for number in history.numbers().unwrap_or_default().into_iter().rev() {
            let Ok(entry) = history.read(number) else {
                continue;
            };
            if way_in.session.is_none() {
                way_in.session = entry
                    .change
                    .port
                    .map(|port| (entry.change.from.clone(), port));
            }
            if way_in.interfaces.is_empty()
                && let Ok(document) = entry.document()
            {
                way_in.interfaces = document.policy().interfaces.clone();
            }
        }
        if let Some(failed) = failed.filter(|_| way_in.interfaces.is_empty()) {
            way_in.interfaces = failed.policy().interfaces.clone();
        }
        if way_in.interfaces.is_empty() {
            way_in.interfaces = hardware()?;
        }
        Ok(way_in)
    }

    fn policy(&self) -> Result<Policy> {
        let (from, port) = match &self.session {
            Some((from, port)) => (Some(vec![from.as_str()]), port.to_string()),
            None => (None, SSH.to_owned()),
        };
        let matches = Match::parse(&MatchSpec {
            from,
            ..MatchSpec::of_words(&format!("tcp {port}"))
        });
        Ok(Policy {
            interfaces: self.interfaces.clone(),
            rules: vec![Rule {
                id: RuleId(1),
                action: Action::Allow,
                matches: matches.map_err(|mistake| anyhow!("{}", mistake.message))?,
                until: None,
                comment: Some("the last operator's way in".to_owned()),
            }],
            ..Policy::default()
        })
    }

    fn what(&self) -> String {
        match &self.session {
            Some((from, port)) => format!("nothing but tcp {port} from {from}"),
            None => "nothing but ssh".to_owned(),
        }
    }
}

/// The interfaces that are network cards; without any, every one that can be filtered.
fn hardware() -> Result<InterfaceList> {
    let cards = interfaces()?.into_iter();
    let cards = cards.filter(|interface| !interface.is_virtual);
    let names: Vec<String> = cards.map(|interface| interface.name).collect();
    Ok(InterfaceList::parse(names)
        .ok()
        .filter(|list| !list.is_empty())
        .unwrap_or_else(InterfaceList::all))
}

impl Engine {
    /// Makes the place for pins, by which an interface that comes knows that it is to be filtered.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn await_interfaces(&self) -> Result<()> {
        Store::create().map(drop)
    }

    /// Filters interfaces that came while the filter is up, by what is in force, be that
    /// temporary or not; then has the rules go by the interfaces that are there now.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, or the kernel refuses.
    pub fn attach(&mut self, join: Join) -> Result<Joined> {
        let live = self.must_be_up()?;
        self.store.forget_gone()?;
        let records = records_answers(&live.generation.record().policy)
            || records_answers(&live.lasting().record().policy);
        let answers = live.generation.record().policy.has_cookies();
        let mut undo = Undo::default();
        let joined = join
            .attach(&self.store, &live.attached, records, answers, &mut undo)
            .map_err(|error| undo.run(error))?;
        self.live = self.store.live()?;
        self.follow_facts()?;
        Ok(joined)
    }

    /// Has the policy in force go by the interfaces and other facts of now; not while something
    /// temporary is in force, which ends by itself.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, or the kernel refuses.
    pub fn follow_facts(&self) -> Result<()> {
        if self.refuse_while_temporary().is_ok() {
            let source = InForce(self.must_be_up()?.generation.record());
            self.change(&source).facts(Facts::Followed).commit()?;
        }
        Ok(())
    }
}
