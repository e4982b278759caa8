//! Definitions, compiled for judging: which finding is evidence for which control, and which exceptions hold.

use crate::domain::{CheckSelector, Control, Moment, Span, Waiver};
use globset::{Glob, GlobMatcher};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A test of a record's bytes.
type Test = dyn Fn(&[u8]) -> bool + Send + Sync;

/// A compiled `where` expression: whether the raw record satisfies it. Made by the caller, since reading records is
/// the business of another room.
#[derive(Clone)]
pub struct WhereTest(Arc<Test>);

impl WhereTest {
    /// Wraps a test.
    pub fn new(test: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> WhereTest {
        WhereTest(Arc::new(test))
    }
}

impl fmt::Debug for WhereTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("where")
    }
}

/// What judging needs to know of a collector.
#[derive(Clone, Debug)]
pub struct CollectorRules {
    /// Name.
    pub name: String,
    /// The name of its format, as `checks[].format` spells it.
    pub format: String,
    /// Evidence older than this is unknown.
    pub max_age: Span,
    /// A resource without evidence is in no state for this long.
    pub grace: Span,
    /// Whether the source's own suppressions count as waivers.
    pub trust_suppressions: bool,
    /// Whether the source lists violations but not what complies.
    pub violations_only: bool,
    /// The declared interval.
    pub every: Span,
}

/// Everything that decides what findings mean. Replaced as a whole when definitions change.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Controls in force, in the order of the definitions.
    pub controls: Vec<Arc<Control>>,
    /// Collectors as configured.
    pub collectors: Vec<CollectorRules>,
    /// Compiled selectors.
    selectors: Vec<Selector>,
    /// Waivers with their compiled patterns.
    waivers: Vec<CompiledWaiver>,
    /// For each control the waivers whose control pattern covers it.
    waivers_of: Vec<Vec<u32>>,
    by_id: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Selector {
    control: usize,
    population: bool,
    format: Option<String>,
    collector: Option<String>,
    id: Pattern,
    resource_type: Option<Pattern>,
    test: Option<WhereTest>,
    /// Its format lists violations but not what complies.
    violations_only: bool,
}

/// A literal or a glob.
#[derive(Clone, Debug)]
enum Pattern {
    Literal(String),
    Glob(GlobMatcher),
}

#[derive(Clone, Debug)]
struct CompiledWaiver {
    waiver: Waiver,
    resource: Pattern,
    scope: Option<Pattern>,
}

/// A selector that a check id of a collector satisfies; type and `where` are still to be asked of each finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index into the selectors.
    selector: u32,
    /// Index into [`Rules::controls`].
    pub control: u32,
    /// True if it only says that the resource is in the population.
    pub population: bool,
}

impl Selector {
    /// Whether findings of this collector can satisfy it. A collector that recognises its documents' format may bring
    /// any.
    fn reads(&self, collector: &CollectorRules) -> bool {
        self.format.as_ref().is_none_or(|f| *f == collector.format || collector.format == "auto")
            && self.collector.as_ref().is_none_or(|n| *n == collector.name)
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Pattern, String> {
        if CheckSelector::is_glob(text) {
            // `*` crosses `/`: resource ids and check ids are not paths.
            let glob = Glob::new(text).map_err(|e| format!("`{text}` is not a glob: {e}"))?;
            Ok(Pattern::Glob(glob.compile_matcher()))
        } else {
            Ok(Pattern::Literal(text.to_owned()))
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Literal(l) => l == text,
            Pattern::Glob(g) => g.is_match(text),
        }
    }
}

impl Rules {
    /// Compiles definitions. `compile_where` turns a JSONPath into a test of a raw record, `violations_only` tells of a
    /// format's name whether it lists violations but not what complies.
    ///
    /// # Errors
    /// A pattern or an expression that is not one, with the control or waiver it stands in. Validation finds these
    /// first and with their position; this is the second line.
    pub fn compile(
        controls: impl IntoIterator<Item = Control>,
        collectors: Vec<CollectorRules>,
        waivers: impl IntoIterator<Item = Waiver>,
        compile_where: &dyn Fn(&str) -> Result<WhereTest, String>,
        violations_only: &dyn Fn(&str) -> bool,
    ) -> Result<Rules, String> {
        let controls: Vec<Arc<Control>> = controls.into_iter().map(Arc::new).collect();
        let mut selectors = Vec::new();
        for (index, control) in controls.iter().enumerate() {
            let of_population = control.population.iter().map(|p| (&p.from, true));
            for (check, population) in control.checks.iter().map(|c| (c, false)).chain(of_population) {
                let within = |e: String| format!("control {}: {e}", control.id);
                selectors.push(Selector {
                    control: index,
                    population,
                    format: check.format.clone(),
                    collector: check.collector.clone(),
                    id: Pattern::new(&check.id).map_err(within)?,
                    resource_type: check.resource_type.as_deref().map(Pattern::new).transpose().map_err(within)?,
                    violations_only: check.format.as_deref().is_some_and(violations_only),
                    test: check.where_path.as_deref().map(compile_where).transpose().map_err(within)?,
                });
            }
        }
        let mut compiled = Vec::new();
        let mut waivers_of = vec![Vec::new(); controls.len()];
        for waiver in waivers {
            let within = |e: String| format!("waiver {}: {e}", waiver.id);
            let control = Pattern::new(&waiver.control).map_err(within)?;
            let resource = Pattern::new(&crate::domain::resource::normalise(&waiver.resource)).map_err(within)?;
            let scope = waiver.scope.as_deref().map(Pattern::new).transpose().map_err(within)?;
            for (index, c) in controls.iter().enumerate() {
                if control.matches(&c.id) {
                    waivers_of[index].push(compiled.len() as u32);
                }
            }
            compiled.push(CompiledWaiver { resource, scope, waiver });
        }
        let by_id = controls.iter().enumerate().map(|(i, c)| (c.id.clone(), i)).collect();
        Ok(Rules { controls, collectors, selectors, waivers: compiled, waivers_of, by_id })
    }

    /// The index of the control with this id.
    pub fn control(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Whether any selector has a `where`: only then must readers hand over raw records.
    pub fn wants_raw(&self) -> bool {
        self.selectors.iter().any(|s| s.test.is_some())
    }

    /// The selectors that check `id` of collector `collector` may satisfy.
    pub fn candidates(&self, collector: usize, id: &str) -> Vec<Candidate> {
        let c = &self.collectors[collector];
        self.selectors
            .iter()
            .enumerate()
            .filter(|(_, s)| s.reads(c) && s.id.matches(id))
            .map(|(i, s)| Candidate { selector: i as u32, control: s.control as u32, population: s.population })
            .collect()
    }

    /// Whether the finding satisfies the rest of the candidate's selector.
    pub fn admits(&self, candidate: Candidate, resource_type: Option<&str>, raw: Option<&[u8]>) -> bool {
        let s = &self.selectors[candidate.selector as usize];
        s.resource_type.as_ref().is_none_or(|p| resource_type.is_some_and(|t| p.matches(t)))
            && s.test.as_ref().is_none_or(|t| raw.is_some_and(|r| (t.0)(r)))
    }

    /// Whether some selector of `control` (other than its population's) reads this collector.
    pub fn reads(&self, control: usize, collector: usize) -> bool {
        self.selectors.iter().any(|s| s.control == control && !s.population && s.reads(&self.collectors[collector]))
    }

    /// Whether a ratio can be computed: some source says what complies, or there is a population.
    pub fn has_ratio(&self, control: usize) -> bool {
        let tells = |s: &Selector| {
            s.control == control && !s.population && !s.violations_only && self.collectors.iter().any(|c| !c.violations_only && s.reads(c))
        };
        self.controls[control].population.is_some() || self.selectors.iter().any(tells)
    }

    /// All waivers, in the order of the definitions.
    pub fn waivers(&self) -> impl Iterator<Item = &Waiver> {
        self.waivers.iter().map(|w| &w.waiver)
    }

    /// Whether any waiver could ever cover `control`.
    pub fn has_waivers(&self, control: usize) -> bool {
        !self.waivers_of[control].is_empty()
    }

    /// The waivers (indexes) whose patterns cover this pair, whether or not they hold now.
    pub fn waivers_for<'a>(&'a self, control: usize, resource: &'a str, scope: &'a str) -> impl Iterator<Item = (u32, &'a Waiver)> + 'a {
        self.waivers_of[control]
            .iter()
            .map(|&i| (i, &self.waivers[i as usize]))
            .filter(move |(_, w)| w.resource.matches(resource) && w.scope.as_ref().is_none_or(|s| s.matches(scope)))
            .map(|(i, w)| (i, &w.waiver))
    }

    /// The waiver that holds for this pair at `now`, if one does: the first in the definitions' order.
    pub fn waiver_at(&self, control: usize, resource: &str, scope: &str, now: Moment) -> Option<u32> {
        self.waivers_for(control, resource, scope).find(|(_, w)| w.holds(now)).map(|(i, _)| i)
    }
}
