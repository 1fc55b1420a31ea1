//! What panicked: a panic of the code under test is a result, which is told with its plan, so nothing is printed. A
//! runtime that takes a task's panic for its own end keeps the message to itself; here it is kept, by thread.

use std::cell::RefCell;
use std::panic::PanicHookInfo;

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics are kept and not printed.
pub(crate) fn keep() {
    std::panic::set_hook(Box::new(note));
}

/// What came before does not matter any more.
pub(crate) fn forget() {
    FIRST.with_borrow_mut(|first| *first = None);
}

/// The first panic of this thread since [`forget`].
pub(crate) fn first() -> Option<String> {
    FIRST.with_borrow(Clone::clone)
}

/// What a caught panic said.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let message = format!("{}{place}", message_of(info.payload()));
    FIRST.with_borrow_mut(|first| first.get_or_insert(message).len());
}
