//! A spinner for what takes long; nothing where standard error is no terminal.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::host;

/// A spinner that says what is being done. It appears once that takes over a second.
pub struct Progress {
    bar: ProgressBar,
    /// What is being done, and since when.
    step: RefCell<Option<(String, Instant)>>,
}

impl Progress {
    /// A spinner, shown once it has run for over a second.
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        // A WebAssembly module has no second thread.
        if !cfg!(target_family = "wasm") {
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        Self { bar, step: RefCell::default() }
    }

    /// Says what is being done now.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        // Whoever listens may run commands, too.
        let listener = host::with(|h| h.progress.clone()).flatten();
        listener.iter().for_each(|l| l(what));
        self.ended();
        tracing::info!("{what}");
        self.step.replace(Some((what.to_owned(), Instant::now())));
    }

    /// Tells the log how long the last step took.
    fn ended(&self) {
        if let Some((what, since)) = self.step.take() {
            tracing::debug!("{what}: {:.3} s", since.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ended();
        self.bar.finish_and_clear();
    }
}
