//! A program that runs commands in its own process: models that it holds in memory, and how it hears of progress.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Names of models that a host holds begin so.
pub const MEMORY: &str = "memory:";

/// Models in ONNX's form by their names, which begin with [`MEMORY`].
pub type Models = BTreeMap<String, Arc<Vec<u8>>>;

/// What a host lends to a command.
#[derive(Default)]
pub struct Host {
    /// The models that commands read.
    pub models: Models,
    /// The models that they wrote.
    pub written: Models,
    /// What would go to standard error.
    pub said: String,
    /// Is told what is being done.
    pub progress: Option<Rc<dyn Fn(&str)>>,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Runs `f` for a host; gives what it gives, and the host as `f` leaves it.
pub fn within<R>(host: Host, f: impl FnOnce() -> R) -> (R, Host) {
    let outer = HOST.replace(Some(host));
    let done = f();
    (done, HOST.replace(outer).unwrap_or_default())
}

/// Calls `f` with the host, if there is one on this thread.
pub fn with<R>(f: impl FnOnce(&mut Host) -> R) -> Option<R> {
    HOST.with_borrow_mut(|host| host.as_mut().map(f))
}

/// The model that a host holds under this name; what was written last, if there are two.
pub fn model(name: &str) -> Option<Arc<Vec<u8>>> {
    with(|h| h.written.get(name).or_else(|| h.models.get(name)).cloned()).flatten()
}

/// Whether a host holds models under names such as this one.
pub fn holds(name: &str) -> bool {
    name.starts_with(MEMORY) && with(|_| ()).is_some()
}
