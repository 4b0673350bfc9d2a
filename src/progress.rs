//! Progress for people, on stderr: a bar on a terminal, a line now and then otherwise.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where bars are drawn together.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    bars: MultiProgress,
    quiet: bool,
}

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

impl Screen {
    /// A screen that shows nothing.
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// A line for people.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| eprintln!("{text}"));
        }
    }

    /// A task of `total` parts, `done` of which are behind it.
    pub fn task(&self, name: &str, done: u64, total: u64) -> ProgressTask {
        let terminal = console::Term::stderr().is_term();
        let bar = (terminal && !self.quiet).then(|| {
            let bar = self.bars.add(ProgressBar::new(total));
            let style = "{prefix:28} {wide_bar} {pos}/{len} {msg} {eta} left";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
            bar.set_prefix(name.to_owned());
            bar.set_position(done);
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        let (start, last) = ((now, done), Cell::new(now));
        ProgressTask { bar, screen: self.clone(), name: name.to_owned(), total, start, last }
    }
}

/// One running task.
pub struct ProgressTask {
    bar: Option<ProgressBar>,
    screen: Screen,
    name: String,
    total: u64,
    start: (Instant, u64),
    last: Cell<Instant>,
}

impl ProgressTask {
    /// So many parts are done; `message` says how it goes.
    pub fn at(&self, done: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message());
        } else if !self.screen.quiet && self.last.get().elapsed() >= LINE_EVERY {
            self.last.set(Instant::now());
            let left = self.left(done).as_secs();
            eprintln!("{}: {done}/{} {} about {left} s left", self.name, self.total, message());
        }
    }

    fn left(&self, done: u64) -> Duration {
        let (start, from) = self.start;
        let speed = done.saturating_sub(from).max(1) as f64 / start.elapsed().as_secs_f64().max(1e-9);
        Duration::from_secs_f64(self.total.saturating_sub(done) as f64 / speed)
    }
}

impl Drop for ProgressTask {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
