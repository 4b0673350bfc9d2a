//! Learns the merges of a byte-level BPE, with a look at the clock and at whoever waits for it.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Trainer};

use super::corpora::END_OF_TEXT;
use crate::progress::Screen;

/// How long somebody waits for a vocabulary.
pub struct Patience<'a> {
    /// Where progress is shown.
    pub screen: Screen,
    /// Whether to stop.
    pub stopping: &'a (dyn Fn() -> bool + Sync),
    /// The longest that it may take.
    pub limit: Duration,
}

impl Patience<'_> {
    /// A vocabulary of 30,000 tokens from a gigabyte of text takes minutes. What takes longer than this is no text
    /// of words: in one word of millions of characters every merge moves all of them.
    pub const LIMIT: Duration = Duration::from_secs(3600);

    /// Nobody waits, and nobody asks to stop.
    pub fn endless() -> Self {
        Patience { screen: Screen::quiet(), stopping: &|| false, limit: Duration::MAX }
    }
}

/// Why there is no vocabulary.
#[derive(Debug)]
pub(super) enum Unlearnt {
    /// Somebody asked to stop.
    Stopped,
    /// The limit was reached.
    TooLong,
    /// The library failed.
    Failed(tokenizers::Error),
}

/// How often the clock and the wish to stop are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How often a line says that pairs are still being merged.
const LINE: Duration = Duration::from_secs(15);

/// Merges for a vocabulary of at most this size, every byte and the end of a text among it.
pub(super) fn learn<S>(
    documents: (impl Iterator<Item = S> + Send, usize),
    vocab_size: usize,
    patience: &Patience<'_>,
) -> Result<BPE, Unlearnt>
where
    S: AsRef<str> + Send,
{
    let start = Instant::now();
    let over = || match (patience.stopping)() {
        true => Some(Unlearnt::Stopped),
        false => (start.elapsed() >= patience.limit).then_some(Unlearnt::TooLong),
    };
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .build();
    count_words(&mut trainer, documents, patience, &over)?;
    // The library merges in one call, which nothing stops: it has a thread of its own, which ends with the program.
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut model = BPE::default();
        let trained = trainer.train(&mut model).map(|_| model);
        // Nobody listens any more where the wait was given up.
        sender.send(trained).unwrap_or_default();
    });
    let mut said = Instant::now();
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(trained) => return trained.map_err(Unlearnt::Failed),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Unlearnt::Failed("the thread that learns it ended".into()));
            }
            Err(RecvTimeoutError::Timeout) => (),
        }
        if let Some(reason) = over() {
            return Err(reason);
        }
        if said.elapsed() >= LINE {
            said = Instant::now();
            let seconds = start.elapsed().as_secs();
            patience.screen.say(&format!("vocabulary of {vocab_size}: merging pairs, {seconds} s"));
        }
    }
}

/// Splits the documents into words, which the trainer counts.
fn count_words<S>(
    trainer: &mut BpeTrainer,
    (documents, count): (impl Iterator<Item = S> + Send, usize),
    patience: &Patience<'_>,
    over: &(dyn Fn() -> Option<Unlearnt> + Sync),
) -> Result<(), Unlearnt>
where
    S: AsRef<str> + Send,
{
    let splitter = ByteLevel::new(false, true, true);
    let split = |text: &str| {
        let mut text = PreTokenizedString::from(text);
        splitter.pre_tokenize(&mut text)?;
        let parts = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(parts.into_iter().map(|(part, ..)| part.to_owned()).collect())
    };
    /// Documents that are counted between two looks at the clock.
    const PORTION: usize = 1024;
    let counting = patience.screen.task("counting words", 0, count as u64);
    let mut stopped = None;
    let reason = &mut stopped;
    let texts = documents.enumerate().map_while(move |(i, document)| {
        if i % PORTION == 0 {
            counting.at(i as u64, String::new);
            *reason = over();
        }
        reason.is_none().then_some(document)
    });
    trainer.feed(texts, split).map_err(Unlearnt::Failed)?;
    stopped.map_or(Ok(()), Err)
}
