//! What a driver shows of its node after each turn. Whoever looks there need not pass through the node: no lock, no hop.
//!
//! A store that is shown costs the node a copy of each leaf that it then writes to. So the store is shown only while
//! somebody looks at it: the first who looks after a while without readers asks the node, and those after find it here.
//! Never decides what may be read.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use synap_core::time::Time;
use synap_core::view::{Outline, View};

/// How long the store is shown after somebody looked at it.
const SHOWN_FOR: Duration = Duration::from_millis(100);

/// A node as of its last turn.
#[derive(Debug)]
pub enum PublishedView {
    /// Nobody has looked at the store of late.
    Outline(Arc<Outline>),
    /// With its store.
    Whole(Arc<View>),
}

/// Where a driver shows its node.
#[derive(Debug)]
pub struct Shown {
    view_now: ArcSwap<PublishedView>,
    looked: AtomicBool,
}

/// The driver's hand on what it shows.
#[derive(Debug)]
pub(crate) struct Display {
    shown: Arc<Shown>,
    /// Until when the store is shown, if nobody looks again.
    whole_until: Time,
}

impl Deref for PublishedView {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        self.outline()
    }
}

impl PublishedView {
    fn outline(&self) -> &Arc<Outline> {
        match self {
            Self::Outline(outline) => outline,
            Self::Whole(view) => &view.outline,
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Outline(_) => false,
            Self::Whole(_) => true,
        }
    }
}

impl Shown {
    /// The newest view_now, for its outline.
    pub(crate) fn glance(&self) -> Guard<Arc<PublishedView>> {
        self.view_now.load()
    }

    /// The newest view_now, for its store. If that is not shown now, it will be after the node's next turn.
    pub(crate) fn look(&self) -> Guard<Arc<PublishedView>> {
        // All readers share this line of memory: it is written to only when that changes something.
        if !self.looked.load(Ordering::Relaxed) {
            self.looked.store(true, Ordering::Relaxed);
        }
        self.view_now.load()
    }
}

impl Display {
    pub(crate) fn new(outline: Arc<Outline>) -> Self {
        let view_now = ArcSwap::from_pointee(PublishedView::Outline(outline));
        let shown = Shown { view_now, looked: AtomicBool::new(false) };
        Self { shown: Arc::new(shown), whole_until: Time::default() }
    }

    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }

    /// Shows a node as it is after a turn. Gives back the view that was shown before, if nobody reads it any more: it may be
    /// the last to hold an old state, which is the node's to free.
    pub(crate) fn show(&mut self, outline: Arc<Outline>, view: impl FnOnce() -> View, now: Time) -> Option<View> {
        if self.shown.looked.load(Ordering::Relaxed) {
            self.shown.looked.store(false, Ordering::Relaxed);
            self.whole_until = now + SHOWN_FOR;
        }
        let whole = now < self.whole_until;
        let before = self.shown.view_now.load();
        // What stands still is shown whole for as long as it does.
        if Arc::ptr_eq(&outline, before.outline()) && (before.is_whole() || !whole) {
            return None;
        }
        drop(before);
        let view_now =
            if whole { PublishedView::Whole(Arc::new(view())) } else { PublishedView::Outline(outline) };
        match Arc::into_inner(self.shown.view_now.swap(Arc::new(view_now)))? {
            PublishedView::Whole(view) => Arc::into_inner(view),
            PublishedView::Outline(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use synap_core::position::{Epoch, Index, Position};
    use synap_core::status::{Role, State};
    use synap_core::store::StoreView;

    use super::*;

    /// A node that has applied so much.
    fn outline(index: u64) -> Arc<Outline> {
        Arc::new(Outline {
            applied: Position { epoch: Epoch::default(), index: Index(index) },
            role: Role::Master,
            state: State::Serving,
            leader: None,
            history: Arc::default(),
            void_beyond: None,
            proof: None,
            planted: synap_core::planted::Planted::default(),
            time: synap_core::time::LogTime::default(),
        })
    }

    fn turn(display: &mut Display, outline: &Arc<Outline>, now: Time) {
        let view = || View { store: StoreView::default(), outline: Arc::clone(outline) };
        let _ = display.show(Arc::clone(outline), view, now);
    }

    #[test]
    fn a_store_is_shown_from_the_first_look_until_nobody_has_looked_for_a_while() {
        let mut display = Display::new(outline(0));
        let shown = display.shown();
        let now = Time::default() + Duration::from_secs(1);
        turn(&mut display, &outline(1), now);
        assert!(!shown.look().is_whole(), "nobody had looked");
        turn(&mut display, &outline(2), now);
        assert!(shown.glance().is_whole());
        turn(&mut display, &outline(3), now + SHOWN_FOR / 2);
        assert!(shown.look().is_whole());
        turn(&mut display, &outline(4), now + SHOWN_FOR);
        assert!(shown.glance().is_whole(), "somebody looked since");
        turn(&mut display, &outline(5), now + SHOWN_FOR * 2);
        assert!(!shown.glance().is_whole());
        assert_eq!(shown.glance().applied.index, Index(5));
    }

    #[test]
    fn who_looks_at_a_node_that_stands_still_finds_its_store_after_the_turn_that_answers() {
        let mut display = Display::new(outline(0));
        let shown = display.shown();
        let still = outline(1);
        turn(&mut display, &still, Time::default());
        assert!(!shown.look().is_whole());
        turn(&mut display, &still, Time::default());
        assert!(shown.look().is_whole());
        turn(&mut display, &still, Time::default() + SHOWN_FOR * 3);
        turn(&mut display, &still, Time::default() + SHOWN_FOR * 6);
        assert!(shown.glance().is_whole(), "it costs nothing while nothing is written");
    }
}
