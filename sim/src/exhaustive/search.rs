//! Visits every state of a scope once, level by level, so that what is found is found by the fewest steps. Workers try
//! steps side by side; what they found is put together in one order, so two searches find the same.
//!
//! A state that was seen is known by its digest of 64 bits: among ten million states, the chance that any two are
//! taken for one is below one in a hundred thousand.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::action::Action;
use super::guarded;
use super::scope::Scope;
use super::state::State;
use crate::plan::Plan;
use crate::run::Verdict;
use crate::trace::Trace;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many states.
    pub states_max: usize,
    /// Workers.
    pub jobs: usize,
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// States that were seen.
    pub states: usize,
    /// Steps that were tried.
    pub steps: u64,
    /// The most steps that lead to any of them.
    pub depth: u32,
    /// Whether every state of the scope was seen.
    pub complete: bool,
    /// The highest epoch in which anybody served.
    pub term: u64,
    /// How often each kind of step was taken.
    pub kinds: BTreeMap<&'static str, u64>,
    /// The shortest script that fails, and how it fails.
    pub failure: Option<(Plan, Verdict)>,
}

/// A state that is known by how it is reached: from a state that is kept, by the steps to it. It is made when its turn
/// comes, since a state takes kilobytes, and millions wait.
#[derive(Clone)]
struct Ahead {
    from: Arc<State>,
    /// The place of `from` among the parents.
    root: u32,
    /// Its own place.
    place: u32,
}

/// What one state leads to: each next state by the step to it from `here`.
struct Tried {
    here: Ahead,
    next: Vec<(Action, Result<Next, Verdict>)>,
}

/// What is remembered of a state before it is made again.
struct Next {
    digest: u64,
    term: u64,
}

/// The step to each state, and the state before it.
type Parents = Vec<(u32, Action)>;

/// The place of the first state.
const FIRST: u32 = u32::MAX;

/// States of levels up to this many are kept; those of larger ones are made from them again.
const KEPT_MAX: usize = 20_000;

/// States that one worker takes at a time.
const CHUNK: usize = 512;

/// Searches a scope, with a bug planted or none; `tell` hears of each level.
pub fn search(scope: &Scope, planted: Option<&str>, limits: Limits, mut tell: impl FnMut(&Found)) -> Found {
    let plan = scope.plan(planted);
    let mut found =
        Found { states: 1, steps: 0, depth: 0, complete: false, term: 0, kinds: BTreeMap::new(), failure: None };
    let first = match guarded(|| State::settled(&plan, &mut Trace::new(false))) {
        Ok(mut state) => {
            state.left = scope.budget;
            Arc::new(state)
        }
        Err(verdict) => return Found { failure: Some((plan, verdict)), ..found },
    };
    let mut seen: HashSet<u64> = HashSet::from([first.digest()]);
    let mut parents = Parents::new();
    let here = Ahead { from: first, root: FIRST, place: FIRST };
    let mut level = merge(vec![expand(&plan, scope, here, &parents, true)], &mut seen, &mut parents, &mut found);
    while let Ok(ahead) = &mut level {
        found.depth += 1;
        tell(&found);
        if ahead.is_empty() {
            found.complete = true;
            break;
        }
        if seen.len() >= limits.states_max {
            break;
        }
        level = next_level(&plan, scope, limits, std::mem::take(ahead), &mut seen, &mut parents, &mut found);
    }
    if let Err((place, action, verdict)) = level {
        let steps =
            path(&parents, FIRST, place).into_iter().chain([action]).map(|step| step.to_string()).collect();
        found.failure = Some((Plan { steps, ..plan }, verdict));
    }
    found
}

/// A failure: the state that it was met in, the step, and the verdict.
type Failure = (u32, Action, Verdict);

fn next_level(
    plan: &Plan,
    scope: &Scope,
    limits: Limits,
    ahead: Vec<Ahead>,
    seen: &mut HashSet<u64>,
    parents: &mut Parents,
    found: &mut Found,
) -> Result<Vec<Ahead>, Failure> {
    let keeps = ahead.len() <= KEPT_MAX;
    let mut next = Vec::new();
    let mut ahead = ahead.into_iter().peekable();
    while ahead.peek().is_some() && seen.len() < limits.states_max {
        let chunks: Vec<Vec<Ahead>> =
            (0..limits.jobs.max(1)).map(|_| ahead.by_ref().take(CHUNK).collect()).collect();
        let known: &Parents = parents;
        let expanded = |ahead: Ahead| expand(plan, scope, ahead, known, keeps);
        let work = |chunk: Vec<Ahead>| chunk.into_iter().map(expanded).collect::<Vec<Tried>>();
        let tried: Vec<Tried> = std::thread::scope(|threads| {
            let workers: Vec<_> = chunks.into_iter().map(|chunk| threads.spawn(|| work(chunk))).collect();
            // A worker guards every step: it does not panic.
            workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
        });
        next.extend(merge(tried, seen, parents, found)?);
    }
    Ok(next)
}

/// Makes a state and tries what can follow. That it can be made is known: it was, when it was found.
fn expand(plan: &Plan, scope: &Scope, ahead: Ahead, parents: &Parents, keeps: bool) -> Tried {
    let mut state = State::clone(&ahead.from);
    for action in path(parents, ahead.root, ahead.place) {
        let made = guarded(|| state.take(plan, &action, &mut Trace::new(false)));
        debug_assert!(made.is_ok(), "a step that was good is bad the second time");
    }
    let try_one = |action: Action| {
        let mut next = state.clone();
        let taken = guarded(|| next.take(plan, &action, &mut Trace::new(false)));
        (action, taken.map(|()| Next { digest: next.digest(), term: next.term() }))
    };
    let next = choices(scope, &state).into_iter().map(try_one).collect();
    let here = if keeps { Ahead { from: Arc::new(state), root: ahead.place, ..ahead } } else { ahead };
    Tried { here, next }
}

/// Every step that is possible, in a fixed order.
fn choices(scope: &Scope, state: &State) -> Vec<Action> {
    let nodes = || 0..state.nodes();
    let mut all: Vec<Action> = state.quiet_steps().collect();
    all.extend(
        nodes()
            .flat_map(|node| scope.concerns.iter().map(move |concern| Action::Write { node, concern: *concern })),
    );
    all.extend(nodes().flat_map(|node| (0..=state.unsynced(node)).map(move |kept| Action::Crash { node, kept })));
    all.extend(nodes().map(|node| Action::Start { node }));
    all.extend(state.standing_conns().map(|conn| Action::Break { conn }));
    all.extend(nodes().flat_map(|node| [false, true].map(|force| Action::Promote { node, force })));
    all.extend(nodes().map(|node| Action::Snapshot { node }));
    all.push(Action::Tick);
    all.retain(|action| state.admits(action));
    all
}

/// Puts what workers found into one order; what was seen before is dropped.
fn merge(
    tried: Vec<Tried>,
    seen: &mut HashSet<u64>,
    parents: &mut Parents,
    found: &mut Found,
) -> Result<Vec<Ahead>, Failure> {
    let mut ahead = Vec::new();
    for Tried { here, next } in tried {
        for (action, result) in next {
            found.steps += 1;
            *found.kinds.entry(kind_of(action)).or_default() += 1;
            let Next { digest, term } = result.map_err(|verdict| (here.place, action, verdict))?;
            found.term = found.term.max(term);
            if seen.insert(digest) {
                let new = u32::try_from(parents.len()).unwrap_or(u32::MAX);
                parents.push((here.place, action));
                ahead.push(Ahead { place: new, ..here.clone() });
            }
        }
    }
    found.states = seen.len();
    Ok(ahead)
}

/// The steps from the state at `root` to the one at `place`.
fn path(parents: &Parents, root: u32, place: u32) -> Vec<Action> {
    let mut steps = Vec::new();
    let mut place = place;
    while let Some((before, action)) = parents.get(place as usize).filter(|_| place != root) {
        steps.push(*action);
        place = *before;
    }
    steps.reverse();
    steps
}

fn kind_of(action: Action) -> &'static str {
    match action {
        Action::Write { .. } => "write",
        Action::Deliver { .. } => "deliver",
        Action::Connect { .. } => "connect",
        Action::Sync { .. } => "sync",
        Action::SyncSnapshot { .. } => "sync_snapshot",
        Action::Crash { .. } => "crash",
        Action::Start { .. } => "start",
        Action::Break { .. } => "break",
        Action::Promote { .. } => "promote",
        Action::Snapshot { .. } => "snapshot",
        Action::Tick => "tick",
    }
}
