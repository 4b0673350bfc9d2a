//! How likely a continuation is after a context: what every benchmark of language modelling asks, and of whom.

use crate::data::published::benchmarks::is_space;
use crate::data::tokenizer::Tokenizer;
use crate::probes::probe::{ProbeError, Result};

/// Tokens to score, and those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is given; at least one token.
    pub context: Vec<u32>,
    /// What is scored.
    pub continuation: Vec<u32>,
}

/// What a request gets.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLosses {
    /// Negative log-likelihood of every scored token, in nats.
    pub losses: Vec<f64>,
    /// Whether each was the likeliest; never where nobody asked.
    pub greedy: bool,
}

impl TokenLosses {
    /// Whether all of it is made of finite numbers.
    pub fn is_finite(&self) -> bool {
        self.losses.iter().all(|loss| loss.is_finite())
    }

    /// Log-likelihood of the whole.
    pub fn log_likelihood(&self) -> f64 {
        self.losses.iter().fold(0.0, |sum, loss| sum - loss)
    }
}

/// How requests are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoringOptions {
    /// Positions that the model sees at a time.
    pub window: usize,
    /// What is longer is read piece by piece, the state carried on; otherwise its left end is cut off.
    pub carry: bool,
    /// Whether the likeliest tokens are wanted too.
    pub greedy: bool,
}

/// How a reply is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoding {
    /// Positions that the model sees at a time. A prompt keeps of its right end what leaves room for the reply.
    pub window: usize,
    /// Most tokens of a reply, fewer than the window's positions.
    pub limit: usize,
    /// The tokens that end a turn; none of them is part of the reply.
    pub ends: Vec<u32>,
    /// Where tokens are drawn from; the likeliest is taken where absent.
    pub nucleus: Option<Nucleus>,
}

/// The fewest likeliest tokens that have a share `p` of the probability, as they are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nucleus {
    /// The share, in 0..=1.
    pub p: f64,
    /// Divides the logits; above 0.
    pub temperature: f64,
    /// Together with the reply's place, decides every draw.
    pub seed: u64,
}

/// Whoever answers: a model, or in a control somebody who knows or guesses.
pub trait Scorer {
    /// An answer to each request.
    fn loglikelihood(&self, requests: &[Request], how: ScoringOptions) -> Result<Vec<TokenLosses>>;

    /// What it says after each prompt, in tokens, up to but without what ends a turn. A scorer that cannot generate gives
    /// the error [`ProbeError::CannotGenerate`].
    fn generate_until(&self, _prompts: &[Vec<u32>], _how: &Decoding) -> Result<Vec<Vec<u32>>> {
        Err(ProbeError::CannotGenerate)
    }

    /// Whether a state can be carried beyond a window.
    fn carries(&self) -> bool;
}

impl Request {
    /// A continuation of a text, as the EleutherAI harness 0.4.13 cuts it. White space at the end of the context begins
    /// the continuation, and both are made tokens together, with the special tokens that the tokenizer puts before
    /// every text; an empty context is the token before a text. It is an error, as there, if no token is left to score
    /// or more are than a window has positions; `what` names the item in it.
    pub fn pair(
        tokenizer: &Tokenizer,
        (context, continuation): (&str, &str),
        window: usize,
        what: impl Fn() -> String,
    ) -> Result<Self> {
        let request = Self::cut(tokenizer, context, &format!("{context}{continuation}"))?;
        match request.continuation.len() {
            0 => {
                let shown: String = context.chars().rev().take(40).collect();
                let (context, continuation) = (shown.chars().rev().collect(), continuation.to_owned());
                Err(ProbeError::NothingToScore { what: what(), context, continuation })
            }
            got if got > window => Err(ProbeError::LongerThanWindow { what: what(), window, got }),
            _ => Ok(request),
        }
    }

    /// A text that begins with the context.
    fn cut(tokenizer: &Tokenizer, context: &str, text: &str) -> Result<Self> {
        let body = context.trim_end_matches(is_space);
        if body.is_empty() {
            let (mut continuation, bos) = (tokenizer.encode(text)?, tokenizer.bos());
            if continuation.first() == Some(&bos) {
                continuation.remove(0);
            }
            return Ok(Self { context: vec![bos], continuation });
        }
        let mut whole = tokenizer.encode_with_special_tokens(text)?;
        let context = tokenizer.encode_with_special_tokens(body)?;
        let continuation = whole.split_off(context.len().min(whole.len()));
        Ok(Self { context, continuation })
    }

    /// Whether its left end must go.
    pub fn is_longer_than(&self, window: usize) -> bool {
        self.context.len() + self.continuation.len() > window + 1
    }

    /// Its tokens, at most one more than the window (the last one is never fed), and how many are scored.
    pub(super) fn within(&self, how: ScoringOptions) -> (Vec<u32>, usize) {
        let mut tokens = [&self.context[..], &self.continuation].concat();
        if !how.carry {
            tokens.drain(..tokens.len().saturating_sub(how.window + 1));
        }
        let scored = self.continuation.len().min(tokens.len() - 1);
        (tokens, scored)
    }
}

/// A text in windows, as the EleutherAI harness cuts it: the first is conditioned on `prefix`, each of
/// the others scores `stride` tokens (the last one the rest) and sees as much before them as the
/// window holds. Every token is scored once.
pub fn windows(tokens: &[u32], prefix: u32, window: usize, stride: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut begin = 0;
    while begin < tokens.len() {
        let end = tokens.len().min(begin + if begin == 0 { window } else { stride });
        let context = match begin {
            0 => vec![prefix],
            _ => tokens[end - window - 1..begin].to_vec(),
        };
        requests.push(Request { context, continuation: tokens[begin..end].to_vec() });
        begin = end;
    }
    requests
}

/// A text in one piece.
pub fn whole(tokens: &[u32], prefix: u32) -> Request {
    Request { context: vec![prefix], continuation: tokens.to_vec() }
}
