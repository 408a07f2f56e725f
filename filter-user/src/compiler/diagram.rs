//! Turns a list of rules into a decision diagram: the questions that find the first rule to
//! match a packet.

use std::collections::{BTreeMap, HashMap};

use xdpfw_common::abi::{EdgeKey, NO_RULE, Node, Question};

use super::{
    TooComplex,
    dimension::{Dimension, FamilySet},
};

/// Most edges a diagram may have: 16 MiB of hash map, filled in a moment.
pub(super) const MAX_EDGES: usize = 1 << 18;
/// Most rules looked at in building it: seconds would be too long to wait for an answer.
const MAX_WORK: usize = 1 << 26;

/// The questions that are asked before the ports' transport makes no difference any more.
const WITH_TRANSPORT: usize = Question::RemotePort as usize + 1;

/// The dimensions of a policy, in order; remote ports have one for each transport.
pub(super) struct Dimensions {
    pub(super) interface: Dimension,
    pub(super) remote: [Dimension; 2],
    pub(super) destination: Dimension,
    pub(super) source: Dimension,
    pub(super) time: Dimension,
    pub(super) mac: Dimension,
}

/// A diagram in the making.
pub(super) struct Diagram<'a> {
    dimensions: &'a Dimensions,
    /// The decision of each rule.
    decisions: &'a [Node],
    known: HashMap<Place, Node>,
    /// The number of each set of edges.
    numbers: HashMap<Vec<(u32, Node)>, u32>,
    /// What was built.
    pub(super) edges: Vec<(EdgeKey, Node)>,
    /// [`Question::bit`]s of the questions that are asked.
    pub(super) asked: u32,
    /// Rules that decide for some packet.
    pub(super) reached: Vec<bool>,
    work: usize,
    /// How often each rule had to be looked at: whom to blame.
    looks: Vec<u32>,
}

/// A rule that a packet may match, by its place in the policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Candidate(u32);

impl Candidate {
    /// One that matches if it is asked for nothing more.
    pub(super) const fn sure(rule: u32) -> Self {
        Self(rule << 1)
    }

    /// One that even then matches only perhaps, since the packet's ports are not known.
    pub(super) const fn perhaps(rule: u32) -> Self {
        Self(rule << 1 | 1)
    }

    /// Its place in the policy.
    pub(super) const fn rule(self) -> u32 {
        self.0 >> 1
    }

    pub(super) const fn is_sure(self) -> bool {
        self.0 & 1 == 0
    }
}

/// All that a node depends on. Its level is the place of the question in
/// [`Question::ALL`].
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    level: usize,
    transport: usize,
    families: FamilySet,
    rules: Vec<Candidate>,
}

impl<'a> Diagram<'a> {
    /// An empty one.
    pub(super) fn new(dimensions: &'a Dimensions, decisions: &'a [Node]) -> Self {
        Self {
            dimensions,
            decisions,
            known: HashMap::new(),
            numbers: HashMap::new(),
            edges: Vec::new(),
            asked: 0,
            reached: vec![false; decisions.len()],
            work: 0,
            looks: vec![0; decisions.len()],
        }
    }

    /// Whether a rule matches whatever it is asked about, so that no later one has a
    /// say.
    pub(super) fn decides(&self, rule: u32) -> bool {
        let rule = Candidate::sure(rule);
        self.decides_from(0, 0, rule) && self.decides_from(0, 1, rule)
    }

    fn decides_from(&self, level: usize, transport: usize, rule: Candidate) -> bool {
        let mut levels = level..Question::ALL.len();
        rule.is_sure() && levels.all(|level| !self.restricts(level, transport, rule))
    }

    /// Whether a rule asks this question.
    fn restricts(&self, level: usize, transport: usize, rule: Candidate) -> bool {
        // Who does not know the ports is not asked for them.
        let is_asked = rule.is_sure() || Question::ALL[level] != Question::RemotePort;
        is_asked && self.at(level, transport).restricts(rule.rule())
    }

    fn at(&self, level: usize, transport: usize) -> &'a Dimension {
        let dimensions = self.dimensions;
        match Question::ALL[level] {
            Question::Interface => &dimensions.interface,
            Question::RemotePort => &dimensions.remote[transport],
            Question::Destination => &dimensions.destination,
            Question::Source => &dimensions.source,
            Question::Time => &dimensions.time,
            Question::Mac => &dimensions.mac,
        }
    }

    /// The node that tells these rules, ascending, from one another, for packets of these
    /// families and of this transport, if they have one.
    ///
    /// # Errors
    ///
    /// There are more combinations than the bound.
    pub(super) fn node(
        &mut self,
        rules: Vec<Candidate>,
        transport: usize,
        families: FamilySet,
    ) -> Result<Node, TooComplex> {
        self.build(Place {
            level: 0,
            transport,
            families,
            rules,
        })
    }

    fn build(&mut self, mut place: Place) -> Result<Node, TooComplex> {
        let Some(level) = (place.level..Question::ALL.len()).find(|&level| {
            let mut rules = place.rules.iter();
            rules.any(|&rule| self.restricts(level, place.transport, rule))
        }) else {
            return Ok(self.leaf(&place.rules));
        };
        place.level = level;
        if level >= WITH_TRANSPORT {
            place.transport = 0;
        }
        if let Some(&node) = self.known.get(&place) {
            return Ok(node);
        }
        let node = self.ask(&place)?;
        self.known.insert(place, node);
        Ok(node)
    }

    fn leaf(&mut self, rules: &[Candidate]) -> Node {
        match self.winner(rules) {
            Some(rule) => {
                self.reached[rule as usize] = true;
                self.decisions[rule as usize]
            }
            None => Node::NO_RULE,
        }
    }

    /// The first rule that surely matches, unless one in front of it that matches perhaps
    /// does something else.
    fn winner(&self, rules: &[Candidate]) -> Option<u32> {
        let sure = rules.iter().position(|rule| rule.is_sure())?;
        let action = |rule: &Candidate| self.decisions[rule.rule() as usize].action;
        let mut in_front = rules[..sure].iter();
        let are_of_one_mind = in_front.all(|rule| action(rule) == action(&rules[sure]));
        are_of_one_mind.then(|| rules[sure].rule())
    }

    /// Asks for the dimension of `place`, where some rule depends on the answer.
    fn ask(&mut self, place: &Place) -> Result<Node, TooComplex> {
        let dimension = self.at(place.level, place.transport);
        let (restricted, free): (Vec<Candidate>, Vec<Candidate>) = place
            .rules
            .iter()
            .partition(|&&rule| self.restricts(place.level, place.transport, rule));
        let free = self.cut(free, place);
        let mut classes: BTreeMap<u32, Vec<Candidate>> = BTreeMap::new();
        for rule in restricted {
            let of_rule = &dimension.of_rule[&rule.rule()];
            self.look(rule, of_rule.len())?;
            for &class in of_rule {
                if dimension.families_of(class) & place.families != 0 {
                    classes.entry(class).or_default().push(rule);
                }
            }
        }
        // In which families a class remains that leads otherwise.
        let untouched = (1..=dimension.families.len() as u32)
            .filter(|class| !classes.contains_key(class))
            .fold(dimension.rest, |families, class| {
                families | dimension.families_of(class)
            });
        let otherwise = match untouched & place.families {
            0 => Node::NO_RULE,
            families => self.build(self.next(place, free.clone(), families))?,
        };
        let mut edges = Vec::new();
        for (class, rules) in classes {
            for &rule in &free {
                self.look(rule, 1)?;
            }
            let rules = self.cut(merge(&rules, &free), place);
            let families = dimension.families_of(class) & place.families;
            let next = self.build(self.next(place, rules, families))?;
            if next != otherwise {
                edges.push((class, next));
            }
        }
        if edges.is_empty() {
            return Ok(otherwise);
        }
        let question = Question::ALL[place.level];
        let mut node = Node {
            number: 0,
            asks: question.bit(),
            slot: otherwise.slot,
            action: otherwise.action,
        };
        if otherwise.asks != 0 {
            node.asks |= Node::MORE;
            node.slot = NO_RULE;
            node.action = 0;
            edges.push((0, otherwise));
        }
        self.asked |= question.bit();
        node.number = self.number(edges)?;
        Ok(node)
    }

    /// The number of a node with these edges. Nodes that differ only in the decision
    /// they end at otherwise have one in common: each has that decision itself.
    fn number(&mut self, edges: Vec<(u32, Node)>) -> Result<u32, TooComplex> {
        if let Some(&number) = self.numbers.get(&edges) {
            return Ok(number);
        }
        if self.edges.len() + edges.len() > MAX_EDGES {
            return Err(self.too_complex());
        }
        let number = self.numbers.len() as u32 + 1;
        let key = |class| EdgeKey {
            node: number,
            class,
        };
        self.edges
            .extend(edges.iter().map(|&(class, next)| (key(class), next)));
        self.numbers.insert(edges, number);
        Ok(number)
    }

    fn next(&self, place: &Place, rules: Vec<Candidate>, families: FamilySet) -> Place {
        Place {
            level: place.level + 1,
            transport: place.transport,
            families,
            rules,
        }
    }

    /// Leaves out the rules behind the first that no further question concerns.
    fn cut(&self, mut rules: Vec<Candidate>, place: &Place) -> Vec<Candidate> {
        let decides = |&rule: &Candidate| self.decides_from(place.level + 1, place.transport, rule);
        if let Some(first) = rules.iter().position(decides) {
            rules.truncate(first + 1);
        }
        rules
    }

    fn look(&mut self, rule: Candidate, times: usize) -> Result<(), TooComplex> {
        let rule = rule.rule();
        self.work += times;
        self.looks[rule as usize] = self.looks[rule as usize].saturating_add(times as u32);
        if self.work > MAX_WORK {
            return Err(self.too_complex());
        }
        Ok(())
    }

    /// Blames the rules that had to be looked at most often.
    fn too_complex(&self) -> TooComplex {
        let mut rules: Vec<usize> = (0..self.looks.len())
            .filter(|&rule| self.looks[rule] > 0)
            .collect();
        rules.sort_by_key(|&rule| std::cmp::Reverse(self.looks[rule]));
        TooComplex::Combinations(rules)
    }
}

/// Two ascending lists as one.
fn merge(left: &[Candidate], right: &[Candidate]) -> Vec<Candidate> {
    let mut both = [left, right].concat();
    // Two runs, which is what the sort is good at.
    both.sort();
    both
}
